// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/net/arp.h"

#include <rte_arp.h>

#include <cstring>

namespace lagan::net {

namespace {

IpAddress ip_at(const rte_be32_t& field) {
    uint8_t bytes[4];
    std::memcpy(bytes, &field, sizeof bytes);
    return IpAddress::from_ipv4(bytes);
}

void store_ip(rte_be32_t& field, const IpAddress& ip) {
    std::memcpy(&field, ip.ipv4(), sizeof field);
}

}  // namespace

Verdict handle_arp(rte_mbuf& frame, const EthernetView& ethernet, const PortConfig& port,
                   NeighborTable& neighbors, uint64_t now_us) {
    auto* arp = header_at<rte_arp_hdr>(frame, ethernet.header_bytes);
    if (arp == nullptr || arp->arp_hardware != RTE_BE16(RTE_ARP_HRD_ETHER) ||
        arp->arp_protocol != RTE_BE16(RTE_ETHER_TYPE_IPV4) || arp->arp_hlen != RTE_ETHER_ADDR_LEN ||
        arp->arp_plen != 4) {
        return Verdict::malformed;
    }
    rte_arp_ipv4& data = arp->arp_data;
    // Copies, because the fields are unaligned and about to be overwritten.
    const rte_ether_addr sender_mac = data.arp_sha;
    const rte_be32_t sender_field = data.arp_sip;
    const rte_be32_t target_field = data.arp_tip;
    const IpAddress sender = ip_at(sender_field);
    const IpAddress target = ip_at(target_field);
    if (!rte_is_valid_assigned_ether_addr(&sender_mac)) return Verdict::malformed;
    if (port.has_address(sender)) return Verdict::address_conflict;
    if (!port.has_address(target)) return Verdict::not_for_us;

    if (arp->arp_opcode == RTE_BE16(RTE_ARP_OP_REPLY)) {
        return neighbors.learn_from_reply(port.port_id, sender, sender_mac, now_us) ? Verdict::learned
                                                                                    : Verdict::ignored;
    }
    if (arp->arp_opcode != RTE_BE16(RTE_ARP_OP_REQUEST)) return Verdict::ignored;
    // Sender 0.0.0.0 is a probe for duplicates (RFC 5227): answered, and nothing to learn.
    neighbors.learn_from_request(port.port_id, sender, sender_mac, now_us);
    arp->arp_opcode = RTE_BE16(RTE_ARP_OP_REPLY);
    data.arp_tha = sender_mac;
    data.arp_tip = sender_field;
    data.arp_sha = port.mac;
    data.arp_sip = target_field;
    address_frame(frame, sender_mac, port.mac);
    return Verdict::reply;
}

bool build_arp_request(rte_mbuf& frame, const PortConfig& port, const IpAddress& own,
                       const IpAddress& wanted) {
    char* const bytes = rte_pktmbuf_append(&frame, sizeof(rte_ether_hdr) + sizeof(rte_arp_hdr));
    if (bytes == nullptr) return false;
    auto* ethernet = reinterpret_cast<rte_ether_hdr*>(bytes);
    std::memset(&ethernet->dst_addr, 0xff, sizeof ethernet->dst_addr);
    ethernet->src_addr = port.mac;
    ethernet->ether_type = RTE_BE16(RTE_ETHER_TYPE_ARP);
    auto* arp = reinterpret_cast<rte_arp_hdr*>(ethernet + 1);
    arp->arp_hardware = RTE_BE16(RTE_ARP_HRD_ETHER);
    arp->arp_protocol = RTE_BE16(RTE_ETHER_TYPE_IPV4);
    arp->arp_hlen = RTE_ETHER_ADDR_LEN;
    arp->arp_plen = 4;
    arp->arp_opcode = RTE_BE16(RTE_ARP_OP_REQUEST);
    arp->arp_data = {};
    arp->arp_data.arp_sha = port.mac;
    rte_be32_t address;
    store_ip(address, own);
    arp->arp_data.arp_sip = address;
    store_ip(address, wanted);
    arp->arp_data.arp_tip = address;
    return true;
}

}  // namespace lagan::net
