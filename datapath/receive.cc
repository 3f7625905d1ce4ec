// SPDX-License-Identifier: BSD-3-Clause
// Ports → decode → queue pair.
// lagan: hot-path
#include <rte_ethdev.h>
#include <rte_prefetch.h>

#include <cstring>

#include "datapath/poll_loop.h"
#include "datapath/roce/decode.h"
#include "datapath/roce/requester.h"
#include "datapath/roce/responder.h"

namespace lagan {

namespace {

enum class Owner : uint8_t { us, given_away };  // of an mbuf after it was handled

// RoCEv2 rule: a packet belongs to a connection only if it comes from its peer and goes to its local address. The
// template of what we send holds both, the other way round.
bool addresses_match(const Qp& qp, const roce::Packet& packet) {
    if (packet.ip_header_bytes() != qp.ip_header_bytes) return false;
    const uint8_t* ours = qp.header_template.data() + qp.l2_bytes;
    const uint32_t size = packet.is_ipv6 ? 16 : 4;
    const uint32_t source = packet.is_ipv6 ? 8 : 12;
    return std::memcmp(packet.ip + source, ours + source + size, size) == 0 &&
           std::memcmp(packet.ip + source + size, ours + source, size) == 0;
}

Owner hand_over(Engine& engine, const Qp& qp, rte_mbuf* mbuf) {
    if (rte_ring_enqueue(engine.peers[qp.engine]->handover_ring, mbuf) != 0) {
        engine.counters.drop(DropReason::ring_full_handover);
        return Owner::us;
    }
    engine.counters.handovers++;
    return Owner::given_away;
}

Owner handle_roce(Engine& engine, rte_mbuf* mbuf, const roce::Packet& packet) {
    if ((packet.info->flags & roce::kCnp) != 0) return Owner::us;  // congestion marks are not acted upon
    Qp* qp = engine.shared.qps.find(packet.dest_qpn);
    if (qp == nullptr) {
        engine.counters.drop(DropReason::unknown_qpn);
        return Owner::us;
    }
    if (qp->engine != engine.options.index) return hand_over(engine, *qp, mbuf);
    if (!addresses_match(*qp, packet)) {
        engine.counters.drop(DropReason::address_pair);
        return Owner::us;
    }
    if (packet.info->has(roce::kRequest)) {
        roce::respond(engine, *qp, packet);
    } else {
        roce::take_response(engine, *qp, packet);
    }
    return Owner::us;
}

Owner handle(Engine& engine, rte_mbuf* mbuf) {
    roce::Packet packet;
    const roce::Decoded decoded = roce::decode(rte_pktmbuf_mtod(mbuf, const uint8_t*), mbuf->data_len, packet);
    switch (decoded.result) {
        case roce::DecodeResult::roce:
            return handle_roce(engine, mbuf, packet);
        case roce::DecodeResult::punt:
            engine.punt(mbuf);
            return Owner::given_away;
        case roce::DecodeResult::drop:
            engine.counters.drop(decoded.reason);
            return Owner::us;
    }
    return Owner::us;
}

// Ports whose buffers are smaller than a frame deliver chains; everything behind this looks at one piece.
rte_mbuf* linearise(Engine& engine, rte_mbuf* mbuf) {
    rte_mbuf* copy = rte_pktmbuf_copy(mbuf, engine.rx_pool(), 0, UINT32_MAX);
    if (copy != nullptr && copy->nb_segs != 1) {
        rte_pktmbuf_free(copy);
        copy = nullptr;
    }
    rte_pktmbuf_free(mbuf);
    if (copy == nullptr) engine.counters.drop(DropReason::no_mbuf);
    return copy;
}

void handle_burst(Engine& engine, rte_mbuf** mbufs, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) rte_prefetch0(rte_pktmbuf_mtod(mbufs[i], void*));
    for (uint32_t i = 0; i < count; i++) {
        rte_mbuf* mbuf = mbufs[i];
        engine.counters.rx_bytes += mbuf->pkt_len;
        if (mbuf->nb_segs != 1) [[unlikely]] {
            mbuf = linearise(engine, mbuf);
            if (mbuf == nullptr) continue;
        }
        if (handle(engine, mbuf) == Owner::us) rte_pktmbuf_free(mbuf);
    }
    engine.counters.rx_packets += count;
}

}  // namespace

uint32_t receive_ports(Engine& engine) {
    uint32_t received = 0;
    rte_mbuf* mbufs[kBurst];
    for (const EnginePort& port : engine.ports) {
        const uint16_t count = rte_eth_rx_burst(port.port_id, port.queue_id, mbufs, kBurst);
        if (count == 0) continue;
        handle_burst(engine, mbufs, count);
        received += count;
    }
    return received;
}

uint32_t receive_handovers(Engine& engine) {
    rte_mbuf* mbufs[kBurst];
    const uint32_t count =
        rte_ring_dequeue_burst(engine.handover_ring, reinterpret_cast<void**>(mbufs), kBurst, nullptr);
    if (count != 0) handle_burst(engine, mbufs, count);
    return count;
}

}  // namespace lagan
