// SPDX-License-Identifier: BSD-3-Clause
// One serving engine on an in-memory port, and a peer that only builds request packets: no client engine
// runs.
#pragma once

#include <rte_mbuf.h>
#include <rte_rcu_qsbr.h>
#include <rte_ring.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "datapath/capsule.h"
#include "datapath/engine.h"
#include "datapath/memory/arena.h"
#include "datapath/memory/region_table.h"
#include "datapath/qp_table.h"
#include "datapath/roce/opcode.h"

namespace lagan::perf {

struct RigOptions {
    uint64_t pool_bytes = 2ULL << 30;
    uint32_t qps = 4;             // requests go round them
    std::filesystem::path arena;  // directory of the frames
    bool huge_pages = false;      // for mbufs too
};

class Rig {
  public:
    static constexpr uint32_t kBatch = 512;  // requests that wait on the port: 16 bursts

    explicit Rig(const RigOptions& options);
    ~Rig();
    Rig(const Rig&) = delete;
    Rig& operator=(const Rig&) = delete;

    // ---- The peer: puts one request on the engine's port. At most kBatch between two drains ----
    void read(uint64_t va, uint32_t bytes);
    void write_page(uint64_t page);  // 4 KiB of some random content
    // Frees pages, one range each; at most kPagesPerFree.
    static constexpr uint32_t kPagesPerFree =
        (kMaxMessageBytes - sizeof(capsule::Header)) / sizeof(capsule::PageRange);
    void free_pages(const uint32_t* pages, uint32_t count);

    // Lets the engine answer everything that waits: poll_once() until the port is empty and no work is left.
    // Takes and frees the replies as a NIC would, after `look` has seen each (null: nobody looks). Returns
    // TSC cycles spent.
    using Look = void (*)(rte_mbuf* reply, void* context);
    uint64_t serve(Look look = nullptr, void* context = nullptr);
    // Acknowledges the messages that the engine has sent (replies to capsules), as serve() found them.
    void acknowledge_messages();

    uint64_t page_count() const { return region_->page_count; }
    const memory::Region& region() const { return *region_; }
    Engine& engine() { return *engine_; }
    uint64_t pool_bytes() const { return pool_bytes_; }
    bool arena_on_huge_pages() const { return arena_->huge_pages(); }

  private:
    struct Peer {
        Qp* server;
        std::unique_ptr<Qp> local;  // never polled: its template and PSN are what requests are made of
        uint32_t psn = 0;
        uint32_t messages_unacknowledged = 0;
    };
    struct Request {
        roce::Opcode opcode;
        uint32_t extension_bytes;
        uint32_t payload_bytes;
    };

    void make_port();
    void connect(uint32_t qps);
    void make_payloads();
    // Starts a request: headers written; `payload_at` is where extension headers go. finish() adds the ICRC
    // and sends.
    rte_mbuf* start(Peer& peer, const Request& request, uint8_t*& extension);
    void finish(const Peer& peer, rte_mbuf* packet, const Request& request, uint8_t* extension,
                uint32_t payload_crc);
    Peer& next_peer();
    uint32_t drain(Look look, void* context);

    uint64_t pool_bytes_;
    std::unique_ptr<memory::Arena> arena_;
    std::unique_ptr<memory::FramePool> frames_;
    std::unique_ptr<memory::RkeyTable> rkeys_;
    rte_rcu_qsbr* rcu_ = nullptr;
    std::unique_ptr<memory::RegionTable> regions_;
    std::unique_ptr<QpTable> qps_;
    std::unique_ptr<Engine> engine_;
    memory::Region* region_ = nullptr;
    rte_ring* to_engine_ = nullptr;
    rte_ring* from_engine_ = nullptr;
    uint16_t port_ = 0;
    std::vector<Peer> peers_;
    uint32_t next_peer_ = 0;
    struct Payload {
        uint8_t bytes[memory::kPageBytes];
        uint32_t crc;
    };
    std::vector<Payload> payloads_;
    uint32_t next_payload_ = 0;
};

// rte_eal_init(): in plain memory, or in huge pages. Once per process. Throws std::runtime_error.
void init_eal(bool huge_pages);

}  // namespace lagan::perf
