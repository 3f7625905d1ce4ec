// SPDX-License-Identifier: BSD-3-Clause
// ICMPv6: neighbour discovery (RFC 4861), and the dispatch to echo. Control thread.
#pragma once

#include <rte_mbuf.h>

#include <cstdint>

#include "datapath/net/frame.h"
#include "datapath/net/neighbor.h"
#include "datapath/net/port_config.h"

namespace lagan::net {

struct Icmp6Result {
    Verdict verdict;
    bool echo;  // which of the two kinds was answered
};

// An IPv6 frame whose next header is ICMPv6. A neighbour solicitation for one of the port's addresses
// (duplicate address detection included) becomes the advertisement, an echo request the reply, in place.
Icmp6Result handle_icmp6(rte_mbuf& frame, const EthernetView& ethernet, const PortConfig& port,
                         NeighborTable& neighbors, uint64_t now_us);

// Fills an empty mbuf with a solicitation to the solicited-node multicast address of `wanted`. Both addresses
// are IPv6. False when the mbuf is too small.
bool build_neighbor_solicitation(rte_mbuf& frame, const PortConfig& port, const IpAddress& own,
                                 const IpAddress& wanted);

}  // namespace lagan::net
