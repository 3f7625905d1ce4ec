// SPDX-License-Identifier: BSD-3-Clause
// Joins the connection manager to the engines: its packets leave through an engine that polls the port, its
// queue pairs live in the QP table. Control thread only; table and engines outlive it.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "datapath/cm/control_plane.h"
#include "datapath/cm/qp_provider.h"
#include "datapath/engine.h"
#include "datapath/net/packet_io.h"
#include "datapath/qp_table.h"

namespace lagan::cm {

class EngineBinding final : public net::PacketIo, public QpProvider {
  public:
    // `engines` by index.
    EngineBinding(QpTable& table, std::vector<Engine*> engines)
        : table_(table), engines_(std::move(engines)) {}

    // An engine that polls the port; they take turns. The port must be polled by one at least.
    uint32_t choose_engine(uint16_t port_id);

    // Hands what the engines punted to the control plane, drives its timers, frees queue pairs that are gone.
    // Returns how many packets there were. Call every few milliseconds or more often.
    uint32_t serve(ControlPlane& control, uint64_t now_us);

    rte_mbuf* allocate() override { return engines_.front()->allocate_for_control(); }
    void transmit(uint16_t port_id, rte_mbuf* packet) override;

    uint32_t allocate_qpn() override { return table_.allocate_qpn(); }
    void release_qpn(uint32_t qpn) override { table_.release_qpn(qpn); }
    bool create(const QpAttributes& attributes, uint32_t engine) override;
    void destroy(uint32_t qpn) override { table_.destroy(qpn); }
    bool is_gone(uint32_t qpn) override { return !table_.is_dying(qpn); }
    bool has_received(uint32_t qpn) override;

  private:
    static constexpr uint64_t kTickUs = 1000;

    QpTable& table_;
    std::vector<Engine*> engines_;
    uint32_t turn_ = 0;
    uint64_t next_tick_us_ = 0;
};

}  // namespace lagan::cm
