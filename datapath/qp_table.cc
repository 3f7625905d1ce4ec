// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/qp_table.h"

#include <rte_rcu_qsbr.h>

#include <algorithm>
#include <bit>
#include <stdexcept>

#include "datapath/engine.h"

namespace lagan {

QpTable::QpTable(uint32_t capacity, rte_rcu_qsbr* rcu)
    : mask_(std::bit_ceil(std::clamp(capacity, 2U, 1U << 16)) - 1),
      rcu_(rcu),
      slots_(std::make_unique<Slot[]>(mask_ + 1)),
      engines_(mask_ + 1, nullptr) {}

QpTable::~QpTable() {
    for (uint32_t i = 0; i <= mask_; i++)
        delete slots_[i].qp.load();
}

uint32_t QpTable::allocate_qpn() {
    for (uint32_t tried = 0; tried <= mask_; tried++) {
        const uint32_t index = next_++ & mask_;
        Slot& slot = slots_[index];
        if (slot.taken) continue;
        // The next generation of this index; the first skips QPN 0 and 1, which are reserved.
        uint32_t qpn = slot.qpn == 0 ? (mask_ + 1) | index : (slot.qpn + mask_ + 1) & 0xffffff;
        if (qpn <= 1) qpn += mask_ + 1;
        slot.qpn = qpn;
        slot.taken = true;
        size_++;
        return qpn;
    }
    return 0;
}

void QpTable::release_qpn(uint32_t qpn) {
    Slot& slot = slots_[qpn & mask_];
    if (!slot.taken || slot.qpn != qpn || slot.qp.load(std::memory_order_relaxed) != nullptr) return;
    slot.taken = false;
    size_--;
}

Qp& QpTable::create(const QpAttributes& attributes, Engine& engine) {
    auto qp = std::make_unique<Qp>();
    init_qp(*qp, attributes, engine.options.index);
    bool has_port = false;
    for (size_t i = 0; i < engine.ports.size(); i++) {
        if (engine.ports[i].port_id != attributes.path.port_id) continue;
        qp->port_slot = static_cast<uint16_t>(i);
        has_port = true;
    }
    if (!has_port) throw std::invalid_argument("the engine does not poll the connection's port");
    engines_[attributes.qpn & mask_] = &engine;
    Qp* raw = qp.release();
    slots_[attributes.qpn & mask_].qp.store(raw, std::memory_order_release);
    return *raw;
}

void QpTable::destroy(uint32_t qpn) {
    Slot& slot = slots_[qpn & mask_];
    Qp* qp = slot.qp.load(std::memory_order_relaxed);
    if (qp == nullptr || slot.qpn != qpn) return;
    slot.qp.store(nullptr, std::memory_order_release);
    engines_[qpn & mask_]->release_qp(*qp);
    dying_.push_back({std::unique_ptr<Qp>(qp), rte_rcu_qsbr_start(rcu_)});
}

void QpTable::reap() {
    std::erase_if(dying_, [this](Dying& entry) {
        if (!entry.qp->released.load(std::memory_order_acquire)) return false;
        if (rte_rcu_qsbr_check(rcu_, entry.token, false) != 1) return false;
        slots_[entry.qp->qpn & mask_].taken = false;
        size_--;
        return true;
    });
}

bool QpTable::is_dying(uint32_t qpn) const {
    return std::any_of(dying_.begin(), dying_.end(),
                       [=](const Dying& entry) { return entry.qp->qpn == qpn; });
}

void QpTable::for_each(const std::function<void(Qp&)>& visit) {
    for (uint32_t i = 0; i <= mask_; i++) {
        Qp* qp = slots_[i].qp.load(std::memory_order_relaxed);
        if (qp != nullptr) visit(*qp);
    }
}

}  // namespace lagan
