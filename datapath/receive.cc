// SPDX-License-Identifier: BSD-3-Clause
// Ports → decode → queue pair.
// lagan: hot-path
#include <rte_ethdev.h>
#include <rte_prefetch.h>

#include <bit>
#include <cstring>

#include "datapath/memory/region.h"
#include "datapath/poll_loop.h"
#include "datapath/roce/decode.h"
#include "datapath/roce/page_builder.h"
#include "datapath/roce/requester.h"
#include "datapath/roce/responder.h"

namespace lagan {

namespace {

// RoCEv2 rule: a packet belongs to a connection only if it comes from its peer and goes to its local address.
// The template of what we send holds both, the other way round.
bool addresses_match(const Qp& qp, const roce::Packet& packet) {
    if (packet.ip_header_bytes() != qp.ip_header_bytes) return false;
    const uint8_t* ours = qp.header_template.data() + qp.l2_bytes;
    if (!packet.is_ipv6) {  // source and destination are eight bytes
        uint64_t theirs, mine;
        std::memcpy(&theirs, packet.ip + 12, sizeof theirs);
        std::memcpy(&mine, ours + 12, sizeof mine);
        return std::rotl(theirs, 32) == mine;
    }
    constexpr uint32_t kSource = 8, kSize = 16;
    return std::memcmp(packet.ip + kSource, ours + kSource + kSize, kSize) == 0 &&
           std::memcmp(packet.ip + kSource + kSize, ours + kSource, kSize) == 0;
}

// Packets of a burst that are done with: freed together, so that the pool is entered once.
struct Done {
    uint32_t count = 0;
    rte_mbuf* mbufs[kBurst];
    void add(rte_mbuf* mbuf) { mbufs[count++] = mbuf; }
};

void hand_over(Engine& engine, const Qp& qp, rte_mbuf* mbuf, Done& done) {
    if (rte_ring_enqueue(engine.peers[qp.engine]->handover_ring, mbuf) != 0) {
        engine.counters.drop(DropReason::ring_full_handover);
        return done.add(mbuf);
    }
    engine.counters.handovers++;
}

// A packet of the burst that is for a queue pair.
struct Arrival {
    rte_mbuf* mbuf;
    roce::Packet packet;
};

void handle(Engine& engine, const Arrival& arrival, Done& done) {
    const roce::Packet& packet = arrival.packet;
    Qp* qp = engine.shared.qps.find(packet.dest_qpn);
    if (qp != nullptr && qp->engine != engine.options.index)
        return hand_over(engine, *qp, arrival.mbuf, done);
    done.add(arrival.mbuf);
    if (qp == nullptr) return engine.counters.drop(DropReason::unknown_qpn);
    if (!addresses_match(*qp, packet)) return engine.counters.drop(DropReason::address_pair);
    if (packet.info->has(roce::kRequest)) {
        roce::respond(engine, *qp, packet);
    } else {
        roce::take_response(engine, *qp, packet);
    }
}

// Memory that the requests of a burst will need, fetched while there is other work: page-table entries first,
// then what they lead to. (Each step is a loop of its own without much else in it, since address translations
// overlap only when they are close together: with 4 KiB pages under 2 GiB of frames they are what a small
// READ waits for.)
class Lookahead {
  public:
    explicit Lookahead(const Engine& engine) : engine_(engine) {}

    void add(const roce::Packet& packet) {
        if (packet.info->reth == roce::kNoHeader) return;
        const auto& reth = packet.extension<roce::Reth>(packet.info->reth);
        const memory::MemoryRegion* memory = engine_.shared.rkeys.find(reth.rkey);
        if (memory == nullptr || memory->kind != memory::MemoryRegion::Kind::paged ||
            reth.va >= memory->length)
            return;
        const std::atomic<memory::Pte>* entry = &memory->region->page_table[reth.va / memory::kPageBytes];
        rte_prefetch0(entry);
        if (packet.info->has(roce::kRead)) {
            // What a READ copies is needed itself, else its CRCs.
            wanted_[count_++] = {entry, reth.va, reth.length <= kInlineBytes};
        } else {
            memory->region->active().prefetch(reth.va / memory::kPageBytes);
            writes_++;
        }
    }

    void fetch_frames() const {
        if (count_ + writes_ == 0) return;
        memory::FramePool& frames = *engine_.shared.frames;
        frames.prefetch_free(writes_);
        for (uint32_t i = 0; i < count_; i++) {
            const memory::FrameIndex frame =
                memory::pte_frame(wanted_[i].entry->load(std::memory_order_relaxed));
            if (frame == memory::kNoFrame) continue;
            rte_prefetch0(wanted_[i].bytes
                              ? static_cast<void*>(frames.data(frame) + wanted_[i].va % memory::kPageBytes)
                              : &frames.meta(frame));
        }
    }

  private:
    struct Wanted {
        const std::atomic<memory::Pte>* entry;
        uint64_t va;
        bool bytes;
    };
    const Engine& engine_;
    uint32_t count_ = 0;
    uint32_t writes_ = 0;
    Wanted wanted_[kBurst];
};

// Decodes; whether the packet is for a queue pair. Others are punted or dropped.
bool sort(Engine& engine, rte_mbuf* mbuf, Arrival& arrival, Done& done) {
    const roce::Decoded decoded =
        roce::decode(rte_pktmbuf_mtod(mbuf, const uint8_t*), mbuf->data_len, arrival.packet);
    if (decoded.result == roce::DecodeResult::roce) [[likely]] {
        arrival.mbuf = mbuf;
        if ((arrival.packet.info->flags & roce::kCnp) == 0) [[likely]]
            return true;
        done.add(mbuf);  // congestion marks are not acted upon
    } else if (decoded.result == roce::DecodeResult::punt) {
        engine.punt(mbuf);
    } else {
        engine.counters.drop(decoded.reason);
        done.add(mbuf);
    }
    return false;
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

// In two passes: what the second one needs of memory is fetched while the first goes on.
void handle_burst(Engine& engine, rte_mbuf** mbufs, uint32_t count) {
    Arrival arrivals[kBurst];
    Done done;
    Lookahead lookahead(engine);
    uint32_t arrived = 0;
    for (uint32_t i = 0; i < count; i++) {
        rte_prefetch0(rte_pktmbuf_mtod(mbufs[i], uint8_t*));
        rte_prefetch0(rte_pktmbuf_mtod(mbufs[i], uint8_t*) +
                      RTE_CACHE_LINE_SIZE);  // where a READ's address ends
    }
    for (uint32_t i = 0; i < count; i++) {
        rte_mbuf* mbuf = mbufs[i];
        engine.counters.rx_bytes += mbuf->pkt_len;
        if (mbuf->nb_segs != 1) [[unlikely]] {
            mbuf = linearise(engine, mbuf);
            if (mbuf == nullptr) continue;
        }
        if (!sort(engine, mbuf, arrivals[arrived], done)) continue;
        lookahead.add(arrivals[arrived++].packet);
    }
    lookahead.fetch_frames();
    for (uint32_t i = 0; i < arrived; i++)
        handle(engine, arrivals[i], done);
    roce::publish_staged_pages(engine);
    rte_pktmbuf_free_bulk(done.mbufs, done.count);
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
