// SPDX-License-Identifier: BSD-3-Clause
// ARP (RFC 826). Control thread.
#pragma once

#include <rte_mbuf.h>

#include <cstdint>

#include "datapath/net/frame.h"
#include "datapath/net/neighbor.h"
#include "datapath/net/port_config.h"

namespace lagan::net {

// Reads an ARP frame that came in on `port`. A request for one of its addresses becomes the reply, in place.
Verdict handle_arp(rte_mbuf& frame, const EthernetView& ethernet, const PortConfig& port,
                   NeighborTable& neighbors, uint64_t now_us);

// Fills an empty mbuf with a broadcast request. Both addresses are IPv4. False when the mbuf is too small.
bool build_arp_request(rte_mbuf& frame, const PortConfig& port, const IpAddress& own,
                       const IpAddress& wanted);

}  // namespace lagan::net
