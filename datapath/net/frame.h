// SPDX-License-Identifier: BSD-3-Clause
// Helpers to read and rewrite a received frame in place. Control thread.
#pragma once

#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_mbuf.h>

#include <cstdint>
#include <optional>

#include "datapath/net/address.h"

namespace lagan::net {

// What answering a frame came to.
enum class Verdict : uint8_t {
    reply,             // the mbuf holds the answer: transmit it
    learned,           // it answered a question of ours
    ignored,           //
    not_for_us,        //
    malformed,         //
    unsupported,       //
    address_conflict,  // somebody else claims our address
};

struct EthernetView {
    uint16_t ether_type;    // behind the tag, if there is one; host order
    uint16_t header_bytes;  // 14, or 18 with a tag
    uint16_t vlan;          // the 802.1Q tag, 0 without
};

// Nothing when the first segment does not hold the Ethernet header (and tag).
std::optional<EthernetView> parse_ethernet(const rte_mbuf& frame);

// The bytes at `offset` of the first segment as a Header, or null when they are not all there.
template <typename Header>
Header* header_at(rte_mbuf& frame, uint32_t offset) {
    if (frame.data_len < offset + sizeof(Header)) return nullptr;
    return rte_pktmbuf_mtod_offset(&frame, Header*, offset);
}

// Cuts Ethernet padding off. False when the frame is shorter than `bytes` or the excess spans segments.
bool trim_to(rte_mbuf& frame, uint32_t bytes);

// Makes a received mbuf fit to transmit: to `to` from `from`, without receive-side flags.
void address_frame(rte_mbuf& frame, const rte_ether_addr& to, const rte_ether_addr& from);

// The one's complement sum of the bytes from `offset` to the end of the packet, over all segments; folded,
// not inverted.
uint16_t raw_checksum(const rte_mbuf& frame, uint32_t offset);

// The checksum that an ICMPv6 message from `offset` to the end of the packet must carry; 0 for a message
// whose checksum field is already right.
uint16_t icmp6_checksum(const rte_mbuf& frame, const rte_ipv6_hdr& ip, uint32_t offset);

// Neither multicast, broadcast, loopback nor unspecified.
bool is_unicast(const IpAddress& ip);

}  // namespace lagan::net
