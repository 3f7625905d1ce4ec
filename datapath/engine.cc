// SPDX-License-Identifier: BSD-3-Clause
// Making an engine, and its rings to and from the control thread. The packet's way is in the files that
// engine.h lists.
#include "datapath/engine.h"

#include <fmt/format.h>
#include <rte_cycles.h>
#include <rte_errno.h>
#include <rte_malloc.h>

#include <bit>
#include <cstring>
#include <stdexcept>

#include "datapath/puller.h"
#include "datapath/roce/requester.h"
#include "datapath/roce/responder.h"
#include "datapath/transmit.h"

namespace lagan {

namespace {

inline constexpr uint32_t kHeaderRoom = RTE_PKTMBUF_HEADROOM + 96 + kInlineBytes + 32;
inline constexpr uint32_t kTailRoom = 64;
inline constexpr uint32_t kControlBurst = 8;
inline constexpr uint32_t kDamageRing = 255;  // until the control thread looks

// Unique within the process, however many engines a test makes one after the other.
std::string unique_name(const char* what, uint32_t index) {
    static std::atomic<uint32_t> counter{0};
    return fmt::format("lg_{}_{}_{}", what, index, counter++);
}

rte_mempool* make_pool(const char* what, const EngineOptions& options, uint32_t count, uint32_t room) {
    const uint32_t cache = std::min(256U, count / 4);
    rte_mempool* pool = rte_pktmbuf_pool_create(unique_name(what, options.index).c_str(), count, cache, 0,
                                                static_cast<uint16_t>(room), options.socket);
    if (pool == nullptr)
        throw std::runtime_error(
            fmt::format("engine {}: no memory for {} mbufs of {} bytes ({}): {}; give EAL more memory "
                        "(-m, or huge pages)",
                        options.index, count, room, what, rte_strerror(rte_errno)));
    return pool;
}

rte_ring* make_ring(const char* what, const EngineOptions& options, uint32_t count, unsigned flags,
                    uint32_t element_bytes = sizeof(void*)) {
    rte_ring* ring = rte_ring_create_elem(unique_name(what, options.index).c_str(), element_bytes,
                                          std::bit_ceil(count + 1), options.socket, flags);
    if (ring == nullptr)
        throw std::runtime_error(fmt::format("engine {}: cannot make ring '{}': {}", options.index, what,
                                             rte_strerror(rte_errno)));
    return ring;
}

void free_mbufs_in(rte_ring* ring) {
    void* mbuf;
    while (ring != nullptr && rte_ring_dequeue(ring, &mbuf) == 0)
        rte_pktmbuf_free(static_cast<rte_mbuf*>(mbuf));
    rte_ring_free(ring);
}

}  // namespace

bool MbufStash::refill() {
    if (rte_mempool_get_bulk(pool_, reinterpret_cast<void**>(mbufs_), kMbufStash) == 0) {
        count_ = kMbufStash;
        return true;
    }
    if (rte_mempool_get(pool_, reinterpret_cast<void**>(mbufs_)) != 0) return false;
    count_ = 1;
    return true;
}

void MbufStash::give_back_all() {
    if (count_ != 0) rte_mempool_put_bulk(pool_, reinterpret_cast<void**>(mbufs_), count_);
    count_ = 0;
}

Engine::Engine(const Shared& shared_state, const EngineOptions& engine_options)
    : shared(shared_state), options(engine_options) {
    tsc_per_us = rte_get_tsc_hz() / 1'000'000;
    active.reserve(options.max_qps);
    timed.reserve(options.max_qps);
    pullers.reserve(options.max_qps);
    parked.reserve(options.max_qps);
    headers.init(make_pool("header", options, options.header_mbufs, kHeaderRoom));
    segments.init(make_pool("segment", options, options.header_mbufs, 0));
    tails.init(make_pool("tail", options, options.header_mbufs, kTailRoom));
    packets.init(
        make_pool("packet", options, options.packet_mbufs, RTE_PKTMBUF_HEADROOM + options.packet_room));
    rx_pool_ = make_pool("rx", options, options.rx_mbufs, RTE_PKTMBUF_HEADROOM + options.packet_room);
    control_pool_ = make_pool("control", options, options.control_ring - 1, RTE_PKTMBUF_HEADROOM + 2048);
    punt_ring_ = make_ring("punt", options, options.control_ring, RING_F_SP_ENQ | RING_F_SC_DEQ);
    control_ring_ = make_ring("control", options, options.control_ring, RING_F_SP_ENQ | RING_F_SC_DEQ);
    order_ring_ =
        make_ring("order", options, 2 * options.max_qps, RING_F_SP_ENQ | RING_F_SC_DEQ, sizeof(QpOrder));
    damage_ring_ =
        make_ring("damage", options, kDamageRing, RING_F_SP_ENQ | RING_F_SC_DEQ, sizeof(DamagedPage));
    handover_ring = make_ring("handover", options, 1024, RING_F_SC_DEQ);
    if (shared.frames != nullptr)
        retire_ = std::make_unique<memory::RetireQueue>(*shared.frames, shared.rcu, options.retire_capacity);
    if (shared.frames != nullptr && options.scrub_pages_per_second != 0)
        scrubber_ =
            std::make_unique<Scrubber>(shared.rkeys, *shared.frames,
                                       Scrubber::Share{options.index, options.engine_count,
                                                       options.scrub_pages_per_second, rte_get_tsc_hz()});

    zero_page =
        static_cast<std::byte*>(rte_zmalloc_socket("zero_page", memory::kPageBytes, 4096, options.socket));
    zero_shinfo = static_cast<rte_mbuf_ext_shared_info*>(
        rte_zmalloc_socket("zero_shinfo", sizeof(rte_mbuf_ext_shared_info), 64, options.socket));
    if (zero_page == nullptr || zero_shinfo == nullptr) throw std::bad_alloc();
    zero_shinfo->free_cb = [](void*, void*) {};
    rte_mbuf_ext_refcnt_set(zero_shinfo, memory::kPublishedRefs);  // never comes down to 1 (frame_pool.h)
    peers.assign(1, this);
}

Engine::~Engine() {
    for (EnginePort& port : ports)
        rte_pktmbuf_free_bulk(port.tx, port.tx_count);
    for (MbufStash* stash : {&headers, &segments, &tails, &packets})
        stash->give_back_all();
    free_mbufs_in(punt_ring_);
    free_mbufs_in(control_ring_);
    free_mbufs_in(handover_ring);
    QpOrder order;
    while (rte_ring_dequeue_elem(order_ring_, &order, sizeof order) == 0)
        carry_out(order);
    rte_ring_free(order_ring_);
    rte_ring_free(damage_ring_);
    for (MbufStash* stash : {&headers, &segments, &tails, &packets})
        rte_mempool_free(stash->pool());
    rte_mempool_free(rx_pool_);
    rte_mempool_free(control_pool_);
    rte_free(zero_page);
    rte_free(zero_shinfo);
}

void Engine::add_port(uint16_t port_id, uint16_t queue_id, bool linear) {
    ports.push_back({.port_id = port_id, .queue_id = queue_id, .linear = linear, .tx = {}});
}

void Engine::punt(rte_mbuf* packet) {
    if (rte_ring_enqueue(punt_ring_, packet) != 0) {
        counters.drop(DropReason::ring_full_punt);
        rte_pktmbuf_free(packet);
        return;
    }
    counters.punts++;
}

void Engine::note_damaged(const memory::Region& region, uint64_t page) {
    counters.pages_poisoned++;
    DamagedPage damaged{page, region.id};
    rte_ring_enqueue_elem(damage_ring_, &damaged, sizeof damaged);
}

uint32_t Engine::take_damaged(DamagedPage* pages, uint32_t count) {
    return rte_ring_dequeue_burst_elem(damage_ring_, pages, sizeof(DamagedPage), count, nullptr);
}

void Engine::scrub_step() {
    const Scrubber::Step step = scrubber_->step(now_tsc);
    if (step.outcome == Scrubber::Outcome::damaged) note_damaged(*step.region, step.page);
    if (step.outcome == Scrubber::Outcome::round) counters.scrub_rounds++;
    if (step.outcome == Scrubber::Outcome::intact || step.outcome == Scrubber::Outcome::damaged)
        counters.pages_scrubbed++;
}

uint32_t Engine::take_punted(rte_mbuf** packets_out, uint32_t count) {
    return rte_ring_dequeue_burst(punt_ring_, reinterpret_cast<void**>(packets_out), count, nullptr);
}

rte_mbuf* Engine::allocate_for_control() {
    return rte_pktmbuf_alloc(control_pool_);
}

void Engine::send_from_control(uint16_t port_id, rte_mbuf* packet) {
    packet->port = port_id;
    if (rte_ring_enqueue(control_ring_, packet) == 0) return;
    rte_pktmbuf_free(packet);
}

void Engine::release_qp(Qp& qp) {
    // The ring has room for every QP there can be, and as many probes.
    QpOrder order{&qp, QpOrder::release, nullptr};
    while (rte_ring_enqueue_elem(order_ring_, &order, sizeof order) != 0) {
    }
}

void Engine::probe_qp(Qp& qp) {
    if (rte_ring_count(order_ring_) >= options.max_qps) return;  // asked again some time later
    QpOrder order{&qp, QpOrder::probe, nullptr};
    rte_ring_enqueue_elem(order_ring_, &order, sizeof order);
}

bool Engine::attach_puller(Qp& qp, Puller& puller) {
    if (rte_ring_count(order_ring_) >= options.max_qps) return false;
    QpOrder order{&qp, QpOrder::attach, &puller};
    return rte_ring_enqueue_elem(order_ring_, &order, sizeof order) == 0;
}

uint32_t Engine::serve_control() {
    rte_mbuf* mbufs[kControlBurst];
    const uint32_t count =
        rte_ring_dequeue_burst(control_ring_, reinterpret_cast<void**>(mbufs), kControlBurst, nullptr);
    for (uint32_t i = 0; i < count; i++) {
        uint16_t slot = 0;
        while (slot < ports.size() && ports[slot].port_id != mbufs[i]->port)
            slot++;
        if (slot < ports.size()) {
            queue_tx(*this, slot, mbufs[i]);
        } else {
            rte_pktmbuf_free(mbufs[i]);
        }
    }
    QpOrder order;
    if (rte_ring_dequeue_elem(order_ring_, &order, sizeof order) == 0) carry_out(order);
    return count;
}

void Engine::carry_out(const QpOrder& order) {
    if (order.what == QpOrder::release) return let_go(*order.qp);
    if (order.what == QpOrder::attach) return order.puller->attach(*this, *order.qp);
    // With a request of ours on its way the answer to that is the sign. C9-88: no bytes, no R_Key.
    if (order.qp->requester.in_flight()) return;
    counters.probes++;
    roce::post_write(*this, *order.qp, 0, 0, 0, nullptr, 0);
}

void Engine::let_go(Qp& qp) {
    if (qp.active) std::erase(active, &qp);
    if (qp.timed) std::erase(timed, &qp);
    if (qp.parked) std::erase(parked, &qp);
    roce::fail_requests(*this, qp, roce::WorkStatus::flushed);
    if (shared.frames != nullptr) roce::drop_page_builder(*this, qp);
    if (qp.puller != nullptr) {
        std::erase(pullers, qp.puller);
        qp.puller->end();
    }
    qp.released.store(true, std::memory_order_release);
}

}  // namespace lagan
