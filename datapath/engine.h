// SPDX-License-Identifier: BSD-3-Clause
// An engine: everything that one poll lcore owns. A packet's way through it, by file:
//
//   poll_loop.cc   one iteration, step by step
//   receive.cc     ports → decode → QP, punt or drop
//   roce/responder.cc → write.cc | read.cc | acknowledge.cc     requests of others
//   roce/requester*.cc                                           our own requests and their answers
//   capsule_server.cc                                            FREE, DIRTY_QUERY, REGION_INFO
//   transmit.h/.cc                                               headers, mbufs, tx batches
#pragma once

#include <rte_mbuf.h>
#include <rte_rcu_qsbr.h>
#include <rte_ring.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "datapath/counters.h"
#include "datapath/memory/frame_budget.h"
#include "datapath/memory/frame_pool.h"
#include "datapath/memory/retire_queue.h"
#include "datapath/memory/rkey_table.h"
#include "datapath/qp_table.h"
#include "datapath/roce/qp.h"
#include "datapath/scrubber.h"

namespace lagan {

class Engine;
class Puller;
namespace roce {
struct CompletionSink;
}

inline constexpr uint32_t kBurst = 32;
inline constexpr uint32_t kTxBatch = 64;
inline constexpr uint32_t kMbufStash = 64;
inline constexpr uint32_t kInlineBytes = 256;  // READ responses up to this are copied behind their header

// What all engines of a process share.
struct Shared {
    QpTable& qps;
    memory::RkeyTable& rkeys;
    rte_rcu_qsbr* rcu;                    // thread id of an engine: its index
    memory::FramePool* frames = nullptr;  // null: a client, which serves no pages
    memory::FrameBudget* budget = nullptr;
};

enum class IdlePolicy : uint8_t { spin, adaptive };

struct EngineOptions {
    uint32_t index = 0;  // of this engine, < 64
    int socket = 0;      // NUMA node of its mbufs
    IdlePolicy idle = IdlePolicy::adaptive;
    bool serve_capsules = true;    // false: a client, which takes messages itself (take_message)
    uint32_t header_mbufs = 8191;  // also segments and tails
    uint32_t packet_mbufs = 2047;  // whole packets: payload copied, ports without MULTI_SEGS
    uint32_t rx_mbufs = 4095;
    uint32_t packet_room = 4480;  // bytes of an rx or whole-packet mbuf behind its headroom
    uint32_t retire_capacity = 16384;
    uint32_t max_qps = 4096;  // of the process: sizes the lists
    uint32_t control_ring = 1024;
    // Pages that all engines together compare with their CRCs when idle; 0: none.
    uint64_t scrub_pages_per_second = 0;
    uint32_t engine_count = 1;  // that share this work
};

// A page that was found damaged, for the log.
struct DamagedPage {
    uint64_t page;
    uint64_t region_id;
};

// mbufs taken from a pool in bulk, so that one costs a nanosecond.
class MbufStash {
  public:
    void init(rte_mempool* pool) { pool_ = pool; }
    rte_mbuf* take() {
        if (count_ == 0 && !refill()) return nullptr;
        return mbufs_[--count_];
    }
    rte_mempool* pool() const { return pool_; }
    void give_back_all();

  private:
    bool refill();
    rte_mempool* pool_ = nullptr;
    uint32_t count_ = 0;
    rte_mbuf* mbufs_[kMbufStash];
};

// One port's queue as this engine uses it.
struct EnginePort {
    uint16_t port_id;
    uint16_t queue_id;
    bool linear;  // no chained mbufs: copy payloads
    uint16_t tx_count = 0;
    rte_mbuf* tx[kTxBatch];
};

// A page that a WRITE has brought whole, not yet published (roce/page_builder.h).
struct StagedPage {
    Qp* qp;
    memory::Region* region;
    uint64_t page;
    memory::FrameIndex frame;
    uint32_t psn;   // of the packet that completed it
    uint32_t msn;   // before that packet
    bool all_zero;  // becomes an absent page
};

class Engine {
  public:
    // Control thread; EAL is up. Throws std::runtime_error when a pool or ring cannot be made.
    Engine(const Shared& shared, const EngineOptions& options);
    ~Engine();
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    // Before the engine runs. `linear`: the port cannot send chained mbufs.
    void add_port(uint16_t port_id, uint16_t queue_id, bool linear);
    rte_mempool* rx_pool() const { return rx_pool_; }

    // ---- Control thread, while the engine runs ----
    // Packets that the engine does not answer itself; up to `count`, returns how many. The caller owns them.
    uint32_t take_punted(rte_mbuf** packets, uint32_t count);
    // Pages found damaged since the last call; up to `count`, returns how many. Some are left out when nobody
    // asks for long; the counter has them all.
    uint32_t take_damaged(DamagedPage* pages, uint32_t count);
    // Sends a packet made by the control thread. Takes ownership; lost when the ring is full.
    void send_from_control(uint16_t port_id, rte_mbuf* packet);
    rte_mbuf* allocate_for_control();
    void release_qp(Qp& qp);  // QpTable::destroy: the engine lets go of it and sets qp.released
    // Asks the peer for a sign of life, by a WRITE of no bytes. Without an answer the QP fails, as it does
    // when any request has no answer. Only for a QP that release_qp() has not been given yet.
    void probe_qp(Qp& qp);
    // `puller` drives the QP, which this engine owns, until the QP fails or goes. Only for a QP that we
    // opened, that has no puller yet, and that release_qp() has not been given. False: too many orders wait;
    // the puller was not taken.
    bool attach_puller(Qp& qp, Puller& puller);

    // ---- Everything below: the owner lcore only ----
    const Shared shared;
    const EngineOptions options;
    Counters counters;
    memory::RetireQueue* retire() { return retire_.get(); }

    std::vector<EnginePort> ports;
    std::vector<Qp*>
        active;  // QPs with responses, capsules or requests to go on with; capacity fixed at start
    std::vector<Qp*> timed;  // QPs whose timer may be armed
    std::vector<Puller*> pullers;
    uint32_t timed_cursor = 0;
    std::vector<Qp*> parked;  // QPs with a READ whose pages are not here yet
    uint32_t parked_cursor = 0;
    uint64_t now_tsc = 0;     // at the start of this iteration
    uint64_t tsc_per_us = 0;  // constant
    uint32_t active_cursor = 0;
    roce::CompletionSink* completions = nullptr;  // of our own requests; null: nobody asks

    MbufStash headers;   // kHeaderRoom bytes: headers and small payloads
    MbufStash segments;  // no room: external buffers only
    MbufStash tails;     // pad and ICRC
    MbufStash packets;   // whole packets

    uint32_t staged_count = 0;  // 0 between bursts
    StagedPage staged[kBurst];

    rte_ring* handover_ring = nullptr;  // packets for our QPs that arrived at other lcores
    std::vector<Engine*> peers;         // by engine index, this one included; constant while running

    // A page of zeros with a reference count of its own: what absent pages are sent from.
    std::byte* zero_page = nullptr;
    rte_mbuf_ext_shared_info* zero_shinfo = nullptr;

    void activate(Qp& qp) {
        if (qp.active) return;
        qp.active = true;
        active.push_back(&qp);
    }
    void watch_timer(Qp& qp) {
        if (qp.timed) return;
        qp.timed = true;
        timed.push_back(&qp);
    }
    void park(Qp& qp) {
        qp.responder.parked = true;
        if (qp.parked) return;
        qp.parked = true;
        parked.push_back(&qp);
    }
    void punt(rte_mbuf* packet);
    // A page has been poisoned.
    void note_damaged(const memory::Region& region, uint64_t page);
    // A step of the scrubber, if it may take one.
    void scrub() {
        if (scrubber_ && scrubber_->due(now_tsc)) scrub_step();
    }
    // Sends what the control thread gave us and lets go of QPs it closes. Bounded per call; returns packets
    // sent.
    uint32_t serve_control();

  private:
    struct QpOrder {
        Qp* qp;
        enum : uint64_t { release, probe, attach } what;
        Puller* puller;
    };
    void carry_out(const QpOrder& order);
    void let_go(Qp& qp);
    void scrub_step();

    rte_mempool* rx_pool_ = nullptr;
    rte_mempool* control_pool_ = nullptr;
    rte_ring* punt_ring_ = nullptr;
    rte_ring* control_ring_ = nullptr;  // control → engine: packets
    rte_ring* order_ring_ = nullptr;    // control → engine: QpOrder
    rte_ring* damage_ring_ = nullptr;   // engine → control: DamagedPage
    std::unique_ptr<memory::RetireQueue> retire_;
    std::unique_ptr<Scrubber> scrubber_;  // null: nothing to do
};

}  // namespace lagan
