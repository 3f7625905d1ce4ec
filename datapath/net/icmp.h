// SPDX-License-Identifier: BSD-3-Clause
// ICMP and ICMPv6 echo (RFC 792, RFC 4443), so that ping works. Control thread.
#pragma once

#include <rte_mbuf.h>

#include "datapath/net/frame.h"
#include "datapath/net/port_config.h"

namespace lagan::net {

// An IPv4 ICMP frame: an echo request for one of the port's addresses becomes the reply, in place.
Verdict handle_icmp4(rte_mbuf& frame, const EthernetView& ethernet, const PortConfig& port);

// The ICMPv6 message at `offset` of a frame whose IPv6 header and checksum have been verified (nd.h): the
// same.
Verdict handle_echo6(rte_mbuf& frame, rte_ipv6_hdr& ip, uint32_t offset, const PortConfig& port);

}  // namespace lagan::net
