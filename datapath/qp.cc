// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/roce/qp.h"

#include <rte_cycles.h>
#include <rte_ip.h>
#include <rte_udp.h>

#include <bit>
#include <cstring>

#include "datapath/memory/rkey_table.h"

namespace lagan {

static uint8_t access_of(Role role) {
    switch (role) {
        case Role::none:
            return 0;
        case Role::read:
        case Role::recover:
            return memory::kAccessRead;
        case Role::write:
            return memory::kAccessRead | memory::kAccessWrite;
    }
    return 0;
}

// Ethernet, 802.1Q if the path has a tag. Returns the bytes written.
static uint8_t write_l2(const net::Path& path, uint8_t* to) {
    auto* ethernet = reinterpret_cast<rte_ether_hdr*>(to);
    ethernet->dst_addr = path.remote_mac;
    ethernet->src_addr = path.local_mac;
    const rte_be16_t type =
        rte_cpu_to_be_16(path.remote_ip.is_ipv4() ? RTE_ETHER_TYPE_IPV4 : RTE_ETHER_TYPE_IPV6);
    ethernet->ether_type = type;
    if (path.vlan == 0) return sizeof(rte_ether_hdr);
    ethernet->ether_type = rte_cpu_to_be_16(RTE_ETHER_TYPE_VLAN);
    auto* tag = reinterpret_cast<rte_vlan_hdr*>(ethernet + 1);
    tag->vlan_tci = rte_cpu_to_be_16(path.vlan);
    tag->eth_proto = type;
    return sizeof(rte_ether_hdr) + sizeof(rte_vlan_hdr);
}

static void write_ip(Qp& qp, const net::Path& path, uint8_t* to) {
    if (path.remote_ip.is_ipv4()) {
        rte_ipv4_hdr ip{};
        ip.version_ihl = RTE_IPV4_VHL_DEF;
        ip.fragment_offset = rte_cpu_to_be_16(RTE_IPV4_HDR_DF_FLAG);
        ip.time_to_live = 64;
        ip.next_proto_id = IPPROTO_UDP;
        std::memcpy(&ip.src_addr, path.local_ip.ipv4(), 4);
        std::memcpy(&ip.dst_addr, path.remote_ip.ipv4(), 4);
        qp.ip_header_bytes = 20;
        // The sum without the length, which write_headers() adds.
        qp.ip_checksum_base = rte_be_to_cpu_16(rte_raw_cksum(&ip, sizeof ip));
        std::memcpy(to, &ip, sizeof ip);
    } else {
        rte_ipv6_hdr ip{};
        ip.vtc_flow = rte_cpu_to_be_32(6U << 28);
        ip.proto = IPPROTO_UDP;
        ip.hop_limits = 64;
        std::memcpy(ip.src_addr, path.local_ip.bytes.data(), 16);
        std::memcpy(ip.dst_addr, path.remote_ip.bytes.data(), 16);
        qp.ip_header_bytes = 40;
        std::memcpy(to, &ip, sizeof ip);
    }
}

static void write_template(Qp& qp) {
    const net::Path& path = qp.attributes.path;
    uint8_t* at = qp.header_template.data();
    qp.l2_bytes = write_l2(path, at);
    at += qp.l2_bytes;
    write_ip(qp, path, at);
    at += qp.ip_header_bytes;
    auto* udp = reinterpret_cast<rte_udp_hdr*>(at);
    udp->src_port = rte_cpu_to_be_16(path.udp_source_port);
    udp->dst_port = rte_cpu_to_be_16(roce::kUdpPort);
    auto* bth = reinterpret_cast<roce::Bth*>(udp + 1);
    bth->flags = 0x40;  // migrated, as every RC packet without alternate path says
    bth->pkey = roce::kDefaultPkey;
    bth->dest_qpn = qp.attributes.dest_qpn;
}

void init_qp(Qp& qp, const QpAttributes& attributes, uint32_t engine) {
    qp.attributes = attributes;
    qp.qpn = attributes.qpn;
    qp.dest_qpn = attributes.dest_qpn;
    qp.region_id = attributes.region_id;
    qp.data_rkey = attributes.data_rkey;
    qp.mtu_bytes = attributes.mtu_bytes;
    qp.mtu_shift = static_cast<uint8_t>(std::countr_zero(attributes.mtu_bytes));
    qp.access = access_of(attributes.role);
    qp.serves_capsules = attributes.role != Role::none;
    qp.heeds_lease = attributes.role == Role::read || attributes.role == Role::write;
    qp.engine = static_cast<uint16_t>(engine);
    qp.rnr_timer = attributes.rnr_timer;
    qp.responder_resources =
        static_cast<uint8_t>(std::min<uint32_t>(attributes.responder_resources, kMaxReadDepth));
    qp.initiator_depth = attributes.initiator_depth;
    qp.retry_count = attributes.retry_count;
    qp.rnr_retry = attributes.rnr_retry;
    write_template(qp);

    qp.responder.expected_psn = attributes.receive_psn;
    qp.responder.replies = std::make_unique<std::array<Reply, kMaxReadDepth>>();
    qp.responder.received.slots = std::make_unique<std::array<MessageRing::Message, kMessageSlots>>();

    Requester& q = qp.requester;
    q.next_psn = q.unacked_psn = q.sent_psn = attributes.send_psn;
    q.retries_left = attributes.retry_count;
    q.rnr_retries_left = attributes.rnr_retry;
    q.queue = std::make_unique<std::array<WorkRequest, kSendQueueDepth>>();
    q.to_send.slots = std::make_unique<std::array<MessageRing::Message, kMessageSlots>>();
    if (attributes.ack_timeout != 0) {  // 4.096 us × 2^n
        const uint64_t nanoseconds = 4096ULL << attributes.ack_timeout;
        q.timeout_tsc = static_cast<uint64_t>(static_cast<double>(nanoseconds) * 1e-9 *
                                              static_cast<double>(rte_get_tsc_hz()));
    }
}

}  // namespace lagan
