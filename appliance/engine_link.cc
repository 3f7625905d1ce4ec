// SPDX-License-Identifier: BSD-3-Clause
#include "appliance/engine_link.h"

#include <algorithm>
#include <new>

namespace lagan::appliance {

namespace {

bool polls(const Engine& engine, uint16_t port_id) {
    return std::any_of(engine.ports.begin(), engine.ports.end(), [=](const EnginePort& port) { return port.port_id == port_id; });
}

}  // namespace

uint32_t EngineLink::choose_engine(uint16_t port_id) {
    for (size_t tried = 0; tried < engines_.size(); ++tried) {
        const uint32_t index = turn_++ % static_cast<uint32_t>(engines_.size());
        if (polls(*engines_[index], port_id)) return index;
    }
    return 0;
}

void EngineLink::transmit(uint16_t port_id, rte_mbuf* packet) {
    for (const auto& engine : engines_) {
        if (polls(*engine, port_id)) return engine->send_from_control(port_id, packet);
    }
    rte_pktmbuf_free(packet);
}

bool EngineLink::create(const QpAttributes& attributes, uint32_t engine) {
    try {
        qps_.create(attributes, *engines_[engine]);
        return true;
    } catch (const std::bad_alloc&) {
        return false;
    }
}

bool EngineLink::has_received(uint32_t qpn) {
    const Qp* qp = qps_.find(qpn);
    return qp != nullptr && qp->has_received.load(std::memory_order_relaxed);
}

}  // namespace lagan::appliance
