// SPDX-License-Identifier: BSD-3-Clause
// lagan: hot-path
#include "datapath/transmit.h"

#include <rte_ip.h>
#include <rte_udp.h>

namespace lagan {

using roce::Bth;

uint8_t* write_headers(const Qp& qp, const PacketFields& fields, uint8_t* to) {
    const uint32_t header_bytes = headers_bytes(qp);
    // One fixed-size copy is cheaper than one of the exact length; the room behind is overwritten later.
    std::memcpy(to, qp.header_template.data(), qp.header_template.size());

    const uint32_t pad = (0U - fields.payload_bytes) & 3U;
    const uint32_t udp_bytes = 8U + static_cast<uint32_t>(sizeof(Bth)) + fields.extension_bytes +
                               fields.payload_bytes + pad + roce::kIcrcBytes;
    uint8_t* ip = to + qp.l2_bytes;
    if (qp.ip_header_bytes == 20) {
        auto* ipv4 = reinterpret_cast<rte_ipv4_hdr*>(ip);
        const uint32_t total = 20U + udp_bytes;
        ipv4->total_length = rte_cpu_to_be_16(static_cast<uint16_t>(total));
        uint32_t sum = qp.ip_checksum_base + total;
        sum = (sum & 0xffff) + (sum >> 16);
        ipv4->hdr_checksum = rte_cpu_to_be_16(static_cast<uint16_t>(~sum));
    } else {
        reinterpret_cast<rte_ipv6_hdr*>(ip)->payload_len = rte_cpu_to_be_16(static_cast<uint16_t>(udp_bytes));
    }
    auto* udp = reinterpret_cast<rte_udp_hdr*>(ip + qp.ip_header_bytes);
    udp->dgram_len = rte_cpu_to_be_16(static_cast<uint16_t>(udp_bytes));

    auto* bth = reinterpret_cast<Bth*>(udp + 1);
    bth->opcode = static_cast<uint8_t>(fields.opcode);
    bth->flags = static_cast<uint8_t>((bth->flags & 0x4f) | (pad << 4) | (fields.solicited ? 0x80 : 0));
    bth->ack_request = fields.ack_request ? 0x80 : 0;
    bth->psn = fields.psn;
    return to + header_bytes;
}

void queue_tx(Engine& engine, uint16_t port_slot, rte_mbuf* packet) {
    EnginePort& port = engine.ports[port_slot];
    if (port.tx_count == kTxBatch) {
        engine.counters.drop(DropReason::tx_full);
        rte_pktmbuf_free(packet);
        return;
    }
    port.tx[port.tx_count++] = packet;
}

void flush_tx(Engine& engine) {
    for (EnginePort& port : engine.ports) {
        if (port.tx_count == 0) continue;
        uint64_t bytes[kTxBatch + 1];  // sizes up to each packet: after tx_burst the mbufs are the port's
        bytes[0] = 0;
        for (uint16_t i = 0; i < port.tx_count; i++)
            bytes[i + 1] = bytes[i] + port.tx[i]->pkt_len;
        const uint16_t sent = rte_eth_tx_burst(port.port_id, port.queue_id, port.tx, port.tx_count);
        engine.counters.tx_packets += sent;
        engine.counters.tx_bytes += bytes[sent];
        port.tx_count = static_cast<uint16_t>(port.tx_count - sent);
        if (port.tx_count != 0) std::memmove(port.tx, port.tx + sent, port.tx_count * sizeof port.tx[0]);
    }
}

rte_mbuf* take_linear(Engine& engine, const Qp& qp, uint32_t body_bytes, uint8_t*& data) {
    const uint32_t bytes = headers_bytes(qp) + body_bytes + 3 + roce::kIcrcBytes;
    const bool small = bytes <= qp.header_template.size() + kInlineBytes;
    rte_mbuf* packet = small ? engine.headers.take() : engine.packets.take();
    if (packet == nullptr) [[unlikely]] {
        engine.counters.drop(DropReason::no_mbuf);
        return nullptr;
    }
    packet->data_off = RTE_PKTMBUF_HEADROOM;
    data = rte_pktmbuf_mtod(packet, uint8_t*);
    return packet;
}

}  // namespace lagan
