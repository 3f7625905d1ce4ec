// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/cm/datagram.h"

#include <netinet/in.h>
#include <rte_ip.h>
#include <rte_udp.h>

#include <cstring>

#include "datapath/net/frame.h"
#include "datapath/roce/icrc.h"

namespace lagan::cm {

namespace {

constexpr uint8_t kHops = 64;
constexpr uint16_t kDatagramBytes =
    sizeof(rte_udp_hdr) + sizeof(roce::Bth) + sizeof(roce::Deth) + roce::kMadBytes + roce::kIcrcBytes;

template <typename Header>
Header* put(uint8_t*& at) {
    auto* header = reinterpret_cast<Header*>(at);
    at += sizeof(Header);
    return header;
}

void put_ethernet(uint8_t*& at, const net::Path& path, bool ipv4) {
    auto* ethernet = put<rte_ether_hdr>(at);
    ethernet->dst_addr = path.remote_mac;
    ethernet->src_addr = path.local_mac;
    const rte_be16_t type = ipv4 ? RTE_BE16(RTE_ETHER_TYPE_IPV4) : RTE_BE16(RTE_ETHER_TYPE_IPV6);
    ethernet->ether_type = path.vlan == 0 ? type : RTE_BE16(RTE_ETHER_TYPE_VLAN);
    if (path.vlan == 0) return;
    auto* tag = put<rte_vlan_hdr>(at);
    tag->vlan_tci = rte_cpu_to_be_16(path.vlan);
    tag->eth_proto = type;
}

void put_ipv4(uint8_t*& at, const net::Path& path) {
    auto* ip = put<rte_ipv4_hdr>(at);
    *ip = {};
    ip->version_ihl = RTE_IPV4_VHL_DEF;
    ip->total_length = rte_cpu_to_be_16(sizeof *ip + kDatagramBytes);
    ip->fragment_offset = RTE_BE16(RTE_IPV4_HDR_DF_FLAG);
    ip->time_to_live = kHops;
    ip->next_proto_id = IPPROTO_UDP;
    std::memcpy(&ip->src_addr, path.local_ip.ipv4(), sizeof ip->src_addr);
    std::memcpy(&ip->dst_addr, path.remote_ip.ipv4(), sizeof ip->dst_addr);
    ip->hdr_checksum = rte_ipv4_cksum(ip);
}

void put_ipv6(uint8_t*& at, const net::Path& path) {
    auto* ip = put<rte_ipv6_hdr>(at);
    ip->vtc_flow = RTE_BE32(6U << 28);
    ip->payload_len = rte_cpu_to_be_16(kDatagramBytes);
    ip->proto = IPPROTO_UDP;
    ip->hop_limits = kHops;
    std::memcpy(ip->src_addr, path.local_ip.bytes.data(), sizeof ip->src_addr);
    std::memcpy(ip->dst_addr, path.remote_ip.bytes.data(), sizeof ip->dst_addr);
}

}  // namespace

DatagramError check_datagram(const net::PortConfig& port, std::span<const uint8_t> frame,
                             const roce::Packet& packet, net::Path& path) {
    const auto* ethernet = reinterpret_cast<const rte_ether_hdr*>(frame.data());
    path.port_id = port.port_id;
    path.local_mac = port.mac;
    path.remote_mac = ethernet->src_addr;
    path.vlan = 0;
    if (ethernet->ether_type == RTE_BE16(RTE_ETHER_TYPE_VLAN)) {
        path.vlan = rte_be_to_cpu_16(reinterpret_cast<const rte_vlan_hdr*>(ethernet + 1)->vlan_tci);
    }
    const uint8_t* addresses = packet.ip + (packet.is_ipv6 ? 8 : 12);
    path.remote_ip =
        packet.is_ipv6 ? net::IpAddress::from_ipv6(addresses) : net::IpAddress::from_ipv4(addresses);
    path.local_ip =
        packet.is_ipv6 ? net::IpAddress::from_ipv6(addresses + 16) : net::IpAddress::from_ipv4(addresses + 4);
    if (!rte_is_same_ether_addr(&ethernet->dst_addr, &port.mac) || !port.has_address(path.local_ip)) {
        return DatagramError::not_for_us;
    }
    if (!rte_is_valid_assigned_ether_addr(&path.remote_mac) || !net::is_unicast(path.remote_ip) ||
        path.remote_ip == path.local_ip) {
        return DatagramError::bad_source;
    }
    if (packet.opcode != static_cast<uint8_t>(roce::Opcode::ud_send_only) ||
        packet.dest_qpn != roce::kGsiQpn || packet.payload_bytes != roce::kMadBytes) {
        return DatagramError::not_ud;
    }
    if (packet.extension<roce::Deth>(packet.info->deth).qkey != roce::kGsiQkey) return DatagramError::qkey;
    return roce::icrc_ok(packet) ? DatagramError::none : DatagramError::icrc;
}

bool build_datagram(rte_mbuf& frame, const net::Path& path, uint32_t psn, const roce::Mad& mad) {
    const bool ipv4 = path.local_ip.is_ipv4();
    const size_t bytes = sizeof(rte_ether_hdr) + (path.vlan != 0 ? sizeof(rte_vlan_hdr) : 0) +
                         (ipv4 ? sizeof(rte_ipv4_hdr) : sizeof(rte_ipv6_hdr)) + kDatagramBytes;
    auto* at = reinterpret_cast<uint8_t*>(rte_pktmbuf_append(&frame, static_cast<uint16_t>(bytes)));
    if (at == nullptr) return false;
    put_ethernet(at, path, ipv4);
    const uint8_t* const ip = at;
    ipv4 ? put_ipv4(at, path) : put_ipv6(at, path);
    auto* udp = put<rte_udp_hdr>(at);
    udp->src_port = rte_cpu_to_be_16(path.udp_source_port);
    udp->dst_port = RTE_BE16(roce::kUdpPort);
    udp->dgram_len = RTE_BE16(kDatagramBytes);
    udp->dgram_cksum = 0;
    auto* bth = put<roce::Bth>(at);
    *bth = {};
    bth->opcode = static_cast<uint8_t>(roce::Opcode::ud_send_only);
    bth->pkey = roce::kDefaultPkey;
    bth->dest_qpn = roce::kGsiQpn;
    bth->psn = psn;
    auto* deth = put<roce::Deth>(at);
    *deth = {};
    deth->qkey = roce::kGsiQkey;
    deth->src_qpn = roce::kGsiQpn;
    const uint32_t headers = roce::icrc_header_state(ip, !ipv4, sizeof(roce::Bth) + sizeof(roce::Deth));
    std::memcpy(at, mad.data(), mad.size());
    roce::icrc_store(at + mad.size(), roce::crc32_raw(headers, at, mad.size()));
    return true;
}

}  // namespace lagan::cm
