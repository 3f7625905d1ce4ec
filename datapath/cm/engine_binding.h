// SPDX-License-Identifier: BSD-3-Clause
// Joins the connection manager to the engines: its packets leave through an engine that polls the port, its
// queue pairs live in the QP table. Control thread.
#pragma once

#include <map>
#include <vector>

#include "datapath/cm/control_plane.h"
#include "datapath/cm/qp_provider.h"
#include "datapath/engine.h"
#include "datapath/net/packet_io.h"
#include "datapath/qp_table.h"

namespace lagan::cm {

// `engines` by index. They and the table outlive the binding.
class EngineBinding final : public net::PacketIo, public QpProvider {
  public:
    EngineBinding(QpTable& table, std::vector<Engine*> engines)
        : table_(table), engines_(std::move(engines)) {}

    rte_mbuf* allocate() override { return engines_.front()->allocate_for_control(); }
    void transmit(uint16_t port_id, rte_mbuf* packet) override;

    uint32_t allocate_qpn() override { return table_.allocate_qpn(); }
    void release_qpn(uint32_t qpn) override { table_.release_qpn(qpn); }
    bool create(const QpAttributes& attributes, uint32_t engine) override;
    void destroy(uint32_t qpn) override { table_.destroy(qpn); }
    bool has_received(uint32_t qpn) override;

    // Hands what the engines punted to the control plane, closes connections whose queue pair has failed,
    // frees queue pairs that are gone, drives timers. Returns how many packets there were. Call every few
    // milliseconds or more often.
    uint32_t serve(ControlPlane& control, uint64_t now_us);

  private:
    void close_failed(ControlPlane& control, uint64_t now_us);

    static constexpr uint64_t kHousekeepingUs = 1000;
    static constexpr uint64_t kFailedGraceUs =
        500'000;  // a failed queue pair repeats its last NAK for so long
    QpTable& table_;
    std::vector<Engine*> engines_;
    std::map<uint32_t, uint64_t> failed_;  // QPN → when it is closed
    uint64_t next_housekeeping_us_ = 0;
};

}  // namespace lagan::cm
