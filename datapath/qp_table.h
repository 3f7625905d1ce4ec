// SPDX-License-Identifier: BSD-3-Clause
// QPN → queue pair. Lcores look up without a lock; the control thread adds and removes.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "datapath/qp_attributes.h"

struct rte_rcu_qsbr;

namespace lagan {

struct Qp;
class Engine;

class QpTable {
  public:
    // `capacity` QPs at a time (rounded up to a power of two, at most 2^16). QPNs carry a generation above
    // the index bits, so that a number is not used again soon after its QP has gone; 0 and 1 are never given.
    QpTable(uint32_t capacity, rte_rcu_qsbr* rcu);
    ~QpTable();  // no engine runs any more
    QpTable(const QpTable&) = delete;
    QpTable& operator=(const QpTable&) = delete;

    // Control thread. 0 when the table is full. The number stays taken until release_qpn() or reap().
    uint32_t allocate_qpn();
    void release_qpn(uint32_t qpn);  // of a number for which create() was not called

    // Control thread. Makes the QP with attributes.qpn visible to lcores, ready to receive and to send;
    // `engine` owns it from then on and reaches its port. Throws std::bad_alloc, or std::invalid_argument for
    // a port that the engine does not have.
    Qp& create(const QpAttributes& attributes, Engine& engine);

    // Control thread. Invisible at once; freed by a later reap(), once its owner has let go of it and every
    // lcore has passed a quiescent state.
    void destroy(uint32_t qpn);
    void reap();
    bool is_dying(uint32_t qpn) const;  // destroyed, and not yet reaped

    // Any lcore, or the control thread. Null for an unknown number.
    Qp* find(uint32_t qpn) const {
        const Slot& slot = slots_[qpn & mask_];
        Qp* qp = slot.qp.load(std::memory_order_acquire);
        return qp != nullptr && slot.qpn == qpn ? qp : nullptr;
    }

    // Control thread: each QP that lives.
    void for_each(const std::function<void(Qp&)>& visit);
    uint32_t size() const { return size_; }
    uint32_t capacity() const { return mask_ + 1; }

  private:
    struct Slot {
        std::atomic<Qp*> qp{nullptr};
        uint32_t qpn = 0;    // of the current or last owner; constant while qp is set
        bool taken = false;  // control
    };
    struct Dying {
        std::unique_ptr<Qp> qp;
        uint64_t token;
    };

    uint32_t mask_;
    uint32_t next_ = 0;  // where the search for a free slot starts
    uint32_t size_ = 0;
    rte_rcu_qsbr* rcu_;
    std::unique_ptr<Slot[]> slots_;
    std::vector<Engine*> engines_;  // owner by slot
    std::vector<Dying> dying_;
};

}  // namespace lagan
