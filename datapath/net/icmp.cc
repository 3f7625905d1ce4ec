// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/net/icmp.h"

#include <netinet/in.h>
#include <rte_icmp.h>

#include <cstring>
#include <utility>

namespace lagan::net {

namespace {

constexpr uint8_t kEcho6Request = 128;
constexpr uint8_t kEcho6Reply = 129;
constexpr uint8_t kReplyHops = 64;

IpAddress ip_at(const rte_be32_t field) {
    uint8_t bytes[4];
    std::memcpy(bytes, &field, sizeof bytes);
    return IpAddress::from_ipv4(bytes);
}

// Both sides of the reply's Ethernet header: back to where the request came from.
Verdict answer(rte_mbuf& frame, const PortConfig& port) {
    const auto* ethernet = rte_pktmbuf_mtod(&frame, const rte_ether_hdr*);
    const rte_ether_addr requester = ethernet->src_addr;
    if (!rte_is_valid_assigned_ether_addr(&requester)) return Verdict::malformed;
    // A multicast frame that carries our unicast address would be answered by every host that hears it.
    if (!rte_is_same_ether_addr(&ethernet->dst_addr, &port.mac)) return Verdict::not_for_us;
    address_frame(frame, requester, port.mac);
    return Verdict::reply;
}

// RFC 1624: the checksum after one 16-bit word has changed.
uint16_t checksum_update(uint16_t checksum, uint16_t before, uint16_t after) {
    uint32_t sum = (~checksum & 0xffffU) + (~before & 0xffffU) + after;
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<uint16_t>(~sum);
}

// The type and code of the message, as one big-endian word in memory order.
uint16_t type_word(const rte_icmp_hdr& icmp) {
    uint16_t word;
    std::memcpy(&word, &icmp, sizeof word);
    return word;
}

void set_type(rte_icmp_hdr& icmp, uint8_t type) {
    const uint16_t before = type_word(icmp);
    icmp.icmp_type = type;
    icmp.icmp_cksum = checksum_update(icmp.icmp_cksum, before, type_word(icmp));
}

}  // namespace

Verdict handle_icmp4(rte_mbuf& frame, const EthernetView& ethernet, const PortConfig& port) {
    const uint32_t ip_offset = ethernet.header_bytes;
    auto* ip = header_at<rte_ipv4_hdr>(frame, ip_offset);
    if (ip == nullptr || (ip->version_ihl >> 4) != 4) return Verdict::malformed;
    if (ip->ihl != RTE_IPV4_MIN_IHL) return Verdict::unsupported;
    const uint32_t ip_bytes = rte_be_to_cpu_16(ip->total_length);
    // Summed together with its checksum, a right header gives 0xffff.
    if (rte_raw_cksum(ip, sizeof *ip) != 0xffff) return Verdict::malformed;
    if (ip_bytes < sizeof *ip + sizeof(rte_icmp_hdr) || !trim_to(frame, ip_offset + ip_bytes))
        return Verdict::malformed;
    if ((ip->fragment_offset & RTE_BE16(RTE_IPV4_HDR_MF_FLAG | RTE_IPV4_HDR_OFFSET_MASK)) != 0) {
        return Verdict::unsupported;
    }
    if (!port.has_address(ip_at(ip->dst_addr))) return Verdict::not_for_us;
    const uint32_t icmp_offset = ip_offset + static_cast<uint32_t>(sizeof *ip);
    auto* icmp = header_at<rte_icmp_hdr>(frame, icmp_offset);
    if (icmp == nullptr) return Verdict::unsupported;
    if (raw_checksum(frame, icmp_offset) != 0xffff) return Verdict::malformed;
    if (icmp->icmp_type != RTE_IP_ICMP_ECHO_REQUEST || icmp->icmp_code != 0) return Verdict::ignored;
    const IpAddress source = ip_at(ip->src_addr);
    if (!is_unicast(source) || port.has_address(source)) return Verdict::malformed;

    const Verdict verdict = answer(frame, port);
    if (verdict != Verdict::reply) return verdict;
    const rte_be32_t requester = ip->src_addr;
    ip->src_addr = ip->dst_addr;
    ip->dst_addr = requester;
    ip->time_to_live = kReplyHops;
    ip->hdr_checksum = 0;
    ip->hdr_checksum = rte_ipv4_cksum(ip);
    set_type(*icmp, RTE_IP_ICMP_ECHO_REPLY);
    return Verdict::reply;
}

Verdict handle_echo6(rte_mbuf& frame, rte_ipv6_hdr& ip, uint32_t offset, const PortConfig& port) {
    auto* icmp = header_at<rte_icmp_hdr>(frame, offset);
    if (icmp == nullptr) return Verdict::malformed;
    if (icmp->icmp_type != kEcho6Request || icmp->icmp_code != 0) return Verdict::ignored;
    const IpAddress source = IpAddress::from_ipv6(ip.src_addr);
    if (!port.has_address(IpAddress::from_ipv6(ip.dst_addr))) return Verdict::not_for_us;
    if (!is_unicast(source) || port.has_address(source)) return Verdict::malformed;

    const Verdict verdict = answer(frame, port);
    if (verdict != Verdict::reply) return verdict;
    std::swap(ip.src_addr, ip.dst_addr);  // the pseudo-header's sum does not change
    ip.hop_limits = kReplyHops;
    set_type(*icmp, kEcho6Reply);
    return Verdict::reply;
}

}  // namespace lagan::net
