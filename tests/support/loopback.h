// SPDX-License-Identifier: BSD-3-Clause
// A server engine and a client engine in one thread, joined by DPDK ring ports. Between them is a wire that
// tests may disturb: packets are flattened (as a real wire would), lost, repeated, swapped or corrupted by a
// seeded generator.
#pragma once

#include <rte_ethdev.h>
#include <rte_rcu_qsbr.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "datapath/engine.h"
#include "datapath/memory/arena.h"
#include "datapath/memory/region_table.h"
#include "datapath/poll_loop.h"
#include "datapath/qp_table.h"
#include "datapath/roce/requester.h"

namespace lagan::test {

// rte_eal_init() once per process; extra arguments may be given by LAGAN_TEST_EAL.
void init_eal();

// What happens to packets on their way, in parts per million each.
struct Disturbance {
    uint32_t drop_ppm = 0;
    uint32_t duplicate_ppm = 0;
    uint32_t reorder_ppm = 0;  // held back until the next burst
    uint32_t corrupt_ppm = 0;  // one bit flipped
    uint32_t ghost_ppm = 0;    // delivered, and once more up to 200 bursts later
};

// One direction of the link: an RX callback on the receiving port.
class Wire {
  public:
    Wire(uint16_t receiving_port, rte_mempool* pool, std::mt19937_64& random);
    ~Wire();
    Disturbance disturbance;
    // A look at every packet that is delivered, and a veto: false loses it.
    std::function<bool(rte_mbuf*)> filter;
    uint64_t delivered = 0;  // packets

  private:
    static uint16_t on_receive(uint16_t port, uint16_t queue, rte_mbuf** packets, uint16_t count,
                               uint16_t room, void* self);
    uint16_t deliver(rte_mbuf** packets, uint16_t count, uint16_t room);
    bool chance(uint32_t ppm) { return ppm != 0 && random_() % 1'000'000 < ppm; }
    void corrupt(rte_mbuf* packet);

    uint16_t port_;
    rte_mempool* pool_;
    std::mt19937_64& random_;
    const rte_eth_rxtx_callback* callback_;
    std::vector<rte_mbuf*> held_;
    uint64_t burst_ = 0;
    std::multimap<uint64_t, rte_mbuf*> ghosts_;  // by the burst that they come with
};

struct CompletionLog final : roce::CompletionSink {
    struct Entry {
        uint64_t cookie;
        roce::WorkStatus status;
    };
    std::vector<Entry> entries;
    void complete(Qp&, uint64_t cookie, roce::WorkStatus status) override {
        entries.push_back({cookie, status});
    }
};

struct LoopbackOptions {
    uint64_t frame_bytes = 64ULL << 20;
    uint16_t mtu_bytes = 4096;
    bool ipv6 = false;
    bool server_linear = false;  // the server's port takes no chained mbufs
    uint32_t psn = 0;            // first PSN in both directions
    uint8_t ack_timeout = 8;     // 1 ms
    uint8_t retry_count = 7;
    uint8_t rnr_retry = 7;
    uint8_t responder_resources = 16;
    uint8_t initiator_depth = 16;
    uint64_t scrub_pages_per_second = 0;  // of the server
    bool serve_capsules = true;           // the server's; false: the test answers them
    uint64_t seed = 1;
};

class Loopback {
  public:
    explicit Loopback(const LoopbackOptions& options = {});
    ~Loopback();

    memory::Region& make_region(const std::string& name, uint64_t bytes, uint64_t reserve = 0,
                                bool overcommit = false) {
        return regions->create(name, bytes, reserve, overcommit);
    }

    struct Pair {
        Qp* client;
        Qp* server;
    };
    // A connection whose server side reaches `region` with `role`.
    Pair connect(const memory::Region& region, Role role = Role::write);
    void disconnect(const Pair& pair);

    // Both engines once; returns the work done.
    uint32_t poll();
    // Polls until `done` says so; false after `max_ms` without an end.
    bool poll_until(const std::function<bool()>& done, uint32_t max_ms = 60'000);
    // Polls until the client has `count` completions.
    bool wait_completions(size_t count, uint32_t max_ms = 60'000) {
        return poll_until([&] { return log.entries.size() >= count; }, max_ms);
    }
    // Polls until both engines have been idle for a while.
    void settle();

    // Frames that are not free. Equal to the present pages of all regions once settled, or frames leak.
    uint32_t frames_in_use() const { return frames->capacity() - frames->free_count(); }

    // Blocking operations on a pair, for plain tests.
    roce::WorkStatus read(const Pair& pair, uint32_t rkey, uint64_t va, void* to, uint32_t bytes);
    roce::WorkStatus write(const Pair& pair, uint32_t rkey, uint64_t va, const void* from, uint32_t bytes);
    // Sends a capsule; returns the reply, empty if none came.
    std::vector<std::byte> call(const Pair& pair, const void* capsule, uint32_t bytes);

    const LoopbackOptions options;
    std::mt19937_64 random;
    CompletionLog log;

    std::filesystem::path arena_directory;
    std::unique_ptr<memory::Arena> arena;
    std::unique_ptr<memory::FramePool> frames;
    std::unique_ptr<memory::RkeyTable> rkeys;
    rte_rcu_qsbr* server_rcu = nullptr;
    std::unique_ptr<memory::RegionTable> regions;
    std::unique_ptr<QpTable> server_qps;
    std::unique_ptr<Engine> server;

    std::unique_ptr<memory::RkeyTable> client_rkeys;
    rte_rcu_qsbr* client_rcu = nullptr;
    std::unique_ptr<QpTable> client_qps;
    std::unique_ptr<Engine> client;

    uint16_t server_port = 0;
    uint16_t client_port = 0;
    std::unique_ptr<Wire> to_server;
    std::unique_ptr<Wire> to_client;

  private:
    rte_ring* rings_[2] = {};
};

// An RCU variable for `threads` readers; free with rte_free().
rte_rcu_qsbr* make_rcu(uint32_t threads);

}  // namespace lagan::test
