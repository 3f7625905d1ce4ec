// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/net/frame.h"

#include <algorithm>

namespace lagan::net {

std::optional<EthernetView> parse_ethernet(const rte_mbuf& frame) {
    if (frame.data_len < sizeof(rte_ether_hdr)) return std::nullopt;
    const auto* ethernet = rte_pktmbuf_mtod(&frame, const rte_ether_hdr*);
    EthernetView view{rte_be_to_cpu_16(ethernet->ether_type), sizeof(rte_ether_hdr), 0};
    if (view.ether_type != RTE_ETHER_TYPE_VLAN) return view;
    if (frame.data_len < sizeof(rte_ether_hdr) + sizeof(rte_vlan_hdr)) return std::nullopt;
    const auto* tag = rte_pktmbuf_mtod_offset(&frame, const rte_vlan_hdr*, sizeof(rte_ether_hdr));
    view.ether_type = rte_be_to_cpu_16(tag->eth_proto);
    view.vlan = rte_be_to_cpu_16(tag->vlan_tci);
    view.header_bytes = sizeof(rte_ether_hdr) + sizeof(rte_vlan_hdr);
    return view;
}

bool trim_to(rte_mbuf& frame, uint32_t bytes) {
    if (frame.pkt_len < bytes) return false;
    const uint32_t excess = frame.pkt_len - bytes;
    return excess == 0 ||
           (excess <= UINT16_MAX && rte_pktmbuf_trim(&frame, static_cast<uint16_t>(excess)) == 0);
}

void address_frame(rte_mbuf& frame, const rte_ether_addr& to, const rte_ether_addr& from) {
    auto* ethernet = rte_pktmbuf_mtod(&frame, rte_ether_hdr*);
    ethernet->dst_addr = to;
    ethernet->src_addr = from;
    // A receive flag would be read as a transmit offload; how the buffer is held must stay.
    frame.ol_flags &= RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL;
    frame.vlan_tci = 0;
}

// Not rte_raw_cksum_mbuf(): DPDK 22.11's loses carries behind a segment of odd length.
uint16_t raw_checksum(const rte_mbuf& frame, uint32_t offset) {
    uint32_t sum = 0;
    bool odd = false;  // the segment starts at an odd place of what is summed
    for (const rte_mbuf* segment = &frame; segment != nullptr; segment = segment->next) {
        const uint32_t skipped = std::min<uint32_t>(offset, segment->data_len);
        offset -= skipped;
        const uint32_t bytes = segment->data_len - skipped;
        const uint16_t part = rte_raw_cksum(rte_pktmbuf_mtod_offset(segment, const char*, skipped), bytes);
        sum += odd ? rte_bswap16(part) : part;
        odd ^= bytes % 2 != 0;
    }
    sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<uint16_t>((sum & 0xffff) + (sum >> 16));
}

uint16_t icmp6_checksum(const rte_mbuf& frame, const rte_ipv6_hdr& ip, uint32_t offset) {
    const uint32_t sum = raw_checksum(frame, offset) + uint32_t{rte_ipv6_phdr_cksum(&ip, 0)};
    return static_cast<uint16_t>(~((sum & 0xffff) + (sum >> 16)));
}

bool is_unicast(const IpAddress& ip) {
    if (ip.is_ipv4()) {
        const uint8_t first = ip.ipv4()[0];
        return first != 0 && first != 127 && first < 224;
    }
    const bool small =
        std::all_of(ip.bytes.begin(), ip.bytes.begin() + 15, [](uint8_t byte) { return byte == 0; });
    return ip.bytes[0] != 0xff && !(small && ip.bytes[15] <= 1);
}

}  // namespace lagan::net
