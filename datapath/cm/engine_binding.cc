// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/cm/engine_binding.h"

#include <algorithm>
#include <exception>

namespace lagan::cm {

inline constexpr uint32_t kPuntBurst = 32;

static bool polls(const Engine& engine, uint16_t port_id) {
    return std::any_of(engine.ports.begin(), engine.ports.end(),
                       [=](const EnginePort& port) { return port.port_id == port_id; });
}

uint32_t EngineBinding::choose_engine(uint16_t port_id) {
    const auto count = static_cast<uint32_t>(engines_.size());
    for (uint32_t tried = 0; tried < count; tried++) {
        const uint32_t index = turn_++ % count;
        if (polls(*engines_[index], port_id)) return index;
    }
    return 0;
}

uint32_t EngineBinding::serve(ControlPlane& control, uint64_t now_us) {
    uint32_t served = 0;
    for (Engine* engine : engines_) {
        rte_mbuf* packets[kPuntBurst];
        const uint32_t count = engine->take_punted(packets, kPuntBurst);
        for (uint32_t i = 0; i < count; i++)
            control.on_punted(packets[i], now_us);
        served += count;
    }
    if (now_us >= next_tick_us_) {
        next_tick_us_ = now_us + kTickUs;
        control.tick(now_us);
        table_.reap();
    }
    return served;
}

void EngineBinding::transmit(uint16_t port_id, rte_mbuf* packet) {
    for (Engine* engine : engines_) {
        if (polls(*engine, port_id)) return engine->send_from_control(port_id, packet);
    }
    rte_pktmbuf_free(packet);
}

bool EngineBinding::create(const QpAttributes& attributes, uint32_t engine) {
    try {
        table_.create(attributes, *engines_.at(engine));
        return true;
    } catch (const std::exception&) {  // no memory, or an engine that does not poll the port
        return false;
    }
}

bool EngineBinding::has_received(uint32_t qpn) {
    const Qp* qp = table_.find(qpn);
    return qp != nullptr && qp->has_received.load(std::memory_order_relaxed);
}

}  // namespace lagan::cm
