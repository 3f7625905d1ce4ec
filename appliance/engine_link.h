// SPDX-License-Identifier: BSD-3-Clause
// The control thread's hold on the engines: its packets go out through them, its connections' queue pairs live on them.
#pragma once

#include <memory>
#include <vector>

#include "datapath/cm/qp_provider.h"
#include "datapath/engine.h"
#include "datapath/net/packet_io.h"
#include "datapath/qp_table.h"

namespace lagan::appliance {

// Control thread only. Table and engines outlive it.
class EngineLink final : public cm::QpProvider, public net::PacketIo {
  public:
    EngineLink(QpTable& qps, const std::vector<std::unique_ptr<Engine>>& engines) : qps_(qps), engines_(engines) {}

    // An engine that polls the port; they take turns. The port must be polled by one at least.
    uint32_t choose_engine(uint16_t port_id);

    rte_mbuf* allocate() override { return engines_.front()->allocate_for_control(); }
    void transmit(uint16_t port_id, rte_mbuf* packet) override;

    uint32_t allocate_qpn() override { return qps_.allocate_qpn(); }
    void release_qpn(uint32_t qpn) override { qps_.release_qpn(qpn); }
    bool create(const QpAttributes& attributes, uint32_t engine) override;
    void destroy(uint32_t qpn) override { qps_.destroy(qpn); }
    bool has_received(uint32_t qpn) override;

  private:
    QpTable& qps_;
    const std::vector<std::unique_ptr<Engine>>& engines_;
    uint32_t turn_ = 0;
};

}  // namespace lagan::appliance
