// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/cm/engine_binding.h"

#include <exception>

namespace lagan::cm {

inline constexpr uint32_t kPuntBurst = 32;

void EngineBinding::transmit(uint16_t port_id, rte_mbuf* packet) {
    for (Engine* engine : engines_) {
        for (const EnginePort& port : engine->ports) {
            if (port.port_id == port_id) return engine->send_from_control(port_id, packet);
        }
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

uint32_t EngineBinding::serve(ControlPlane& control, uint64_t now_us) {
    uint32_t served = 0;
    for (Engine* engine : engines_) {
        rte_mbuf* packets[kPuntBurst];
        const uint32_t count = engine->take_punted(packets, kPuntBurst);
        for (uint32_t i = 0; i < count; i++)
            control.on_punted(packets[i], now_us);
        served += count;
    }
    if (now_us >= next_housekeeping_us_) {
        next_housekeeping_us_ = now_us + kHousekeepingUs;
        close_failed(control, now_us);
        table_.reap();
        control.tick(now_us);
    }
    return served;
}

// The engine answered with a NAK or gave up. The NAK may have to be repeated; then the peer is told by a
// DREQ.
void EngineBinding::close_failed(ControlPlane& control, uint64_t now_us) {
    table_.for_each([&](Qp& qp) {
        if (qp.failed.load(std::memory_order_acquire)) failed_.emplace(qp.qpn, now_us + kFailedGraceUs);
    });
    std::erase_if(failed_, [&](const auto& entry) {
        if (table_.find(entry.first) == nullptr) return true;
        if (now_us < entry.second) return false;
        control.connections().close(entry.first);
        return true;
    });
}

}  // namespace lagan::cm
