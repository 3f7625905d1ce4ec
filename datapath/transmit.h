// SPDX-License-Identifier: BSD-3-Clause
// The last step of every packet we send: headers, ICRC, tx batches.
// lagan: hot-path
#pragma once

#include <rte_ethdev.h>

#include <cstring>

#include "datapath/engine.h"
#include "datapath/roce/icrc.h"
#include "datapath/roce/opcode.h"

namespace lagan {

// What the templates of transmit.cc do not know about a packet.
struct PacketFields {
    roce::Opcode opcode;
    uint32_t psn;
    uint32_t extension_bytes;
    uint32_t payload_bytes;
    bool ack_request = false;
    bool solicited = false;  // the receiver's application wants to be woken
};

// Writes Ethernet to BTH at `to` (room for 96 bytes) from the QP's template; lengths, checksum, pad count and
// PSN are filled in. Returns where the extension headers go.
uint8_t* write_headers(const Qp& qp, const PacketFields& fields, uint8_t* to);

// The ICRC state of headers written at `headers`, extension headers included.
inline uint32_t header_icrc_state(const Qp& qp, const uint8_t* headers, uint32_t extension_bytes) {
    return roce::icrc_header_state(headers + qp.l2_bytes, qp.ip_header_bytes == 40,
                                   static_cast<uint32_t>(sizeof(roce::Bth)) + extension_bytes);
}

inline uint32_t headers_bytes(const Qp& qp) {
    return qp.l2_bytes + qp.ip_header_bytes + 8U + static_cast<uint32_t>(sizeof(roce::Bth));
}

// Writes pad and ICRC at `to`; returns their bytes. `state` is behind the payload.
inline uint32_t write_trailer(uint8_t* to, uint32_t payload_bytes, uint32_t state) {
    const uint32_t pad = (0U - payload_bytes) & 3U;
    std::memset(to, 0, 4);
    if (pad != 0) state = roce::crc32_raw(state, to, pad);
    roce::icrc_store(to + pad, state);
    return pad + roce::kIcrcBytes;
}

// How many packets the QP's port takes before its batch is full. Producers stop at 0 and go on in the next
// iteration.
inline uint32_t tx_room(const Engine& engine, const Qp& qp) {
    return kTxBatch - engine.ports[qp.port_slot].tx_count;
}

// Queues a packet on its port; it leaves with flush_tx() at the end of the iteration. Takes ownership.
void queue_tx(Engine& engine, uint16_t port_slot, rte_mbuf* packet);
void flush_tx(Engine& engine);

// A single-segment packet with room for headers, `body_bytes` (extension headers and payload) and trailer;
// sets `data` to its first byte. Null (counted) when out of mbufs. finish_linear() sets its length.
rte_mbuf* take_linear(Engine& engine, const Qp& qp, uint32_t body_bytes, uint8_t*& data);
inline void finish_linear(rte_mbuf* packet, uint32_t bytes) {
    packet->ol_flags = 0;
    packet->data_len = static_cast<uint16_t>(bytes);
    packet->pkt_len = bytes;
}

}  // namespace lagan
