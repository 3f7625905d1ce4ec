// SPDX-License-Identifier: BSD-3-Clause
// All that a process without a kernel's network stack does off the poll lcores: ARP, ND, ICMP and
// connections, for all ports. lagand's control thread and the client drive one each. Single-threaded.
#pragma once

#include <rte_mbuf.h>

#include <atomic>
#include <cstdint>
#include <vector>

#include "datapath/cm/connection_manager.h"
#include "datapath/net/counters.h"
#include "datapath/net/log_sink.h"
#include "datapath/net/neighbor.h"
#include "datapath/net/packet_io.h"
#include "datapath/net/port_config.h"
#include "datapath/net/responder.h"

namespace lagan::cm {

class ControlPlane {
  public:
    // `io` and `provider` outlive it.
    ControlPlane(net::PacketIo& io, std::vector<net::PortConfig> ports, QpProvider& provider,
                 const CmOptions& options = {}, net::LogSink log = {});

    // Takes a frame that the poll loop punted; frame->port says where it came in.
    void on_punted(rte_mbuf* frame, uint64_t now_us);

    // Drives every timer. Call every 1 to 50 ms.
    void tick(uint64_t now_us);

    // Looks `params.path.remote_ip` up from params.path.port_id, fills in the rest of the path, then
    // connects. The callback is called once, never from inside this call. Throws what validate() throws.
    void connect(const ConnectParams& params, ConnectCallback callback);

    ConnectionManager& connections() { return connections_; }
    const ConnectionManager& connections() const { return connections_; }
    net::NeighborTable& neighbors() { return neighbors_; }
    const net::NetCounters& net_counters() const { return net_counters_; }
    const std::vector<net::PortConfig>& ports() const { return ports_; }
    // Punted frames that no part of this had a use for.
    uint64_t unhandled() const { return unhandled_.load(std::memory_order_relaxed); }

  private:
    struct Lookup {
        ConnectParams params;
        ConnectCallback callback;
        bool asked;
    };

    bool advance(Lookup& lookup, uint64_t now_us);

    const std::vector<net::PortConfig> ports_;
    net::NetCounters net_counters_;
    std::atomic<uint64_t> unhandled_{0};
    net::NeighborTable neighbors_;
    net::Responder responder_;
    ConnectionManager connections_;
    std::vector<Lookup> lookups_;  // waiting for a MAC
};

}  // namespace lagan::cm
