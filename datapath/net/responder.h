// SPDX-License-Identifier: BSD-3-Clause
// Answers what is not RoCE: ARP, IPv6 neighbour solicitations, ICMP and ICMPv6 echo. The received mbuf
// becomes the answer. Control thread.
#pragma once

#include <rte_mbuf.h>

#include <cstdint>
#include <vector>

#include "datapath/net/counters.h"
#include "datapath/net/frame.h"
#include "datapath/net/neighbor.h"
#include "datapath/net/packet_io.h"
#include "datapath/net/port_config.h"

namespace lagan::net {

class Responder {
  public:
    // All outlive the responder.
    Responder(PacketIo& io, const std::vector<PortConfig>& ports, NeighborTable& neighbors,
              NetCounters& counters);

    // True when the frame is ARP, ICMP or ICMPv6: then it has been taken, and answered, dropped or learned
    // from. False: not ours, and the caller still owns it.
    bool take(rte_mbuf* frame, uint64_t now_us);

  private:
    void finish(rte_mbuf* frame, Verdict verdict, std::atomic<uint64_t>& answered,
                std::atomic<uint64_t>& learned);

    PacketIo& io_;
    const std::vector<PortConfig>& ports_;
    NeighborTable& neighbors_;
    NetCounters& counters_;
};

}  // namespace lagan::net
