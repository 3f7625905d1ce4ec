// SPDX-License-Identifier: BSD-3-Clause
// Two server engines and two client engines on two lcores: lcore i polls server engine i and client engine i.
// Packets of a QP arrive where the network's hash sends them, not where the QP lives: each side's port has a
// queue per engine, and a connection between different ones is handed over, requests at the server and
// answers at the client.
#pragma once

#include <functional>

#include "tests/support/loopback.h"

namespace lagan::test {

struct LcorePairOptions {
    uint64_t frame_bytes = 16ULL << 20;
    uint8_t ack_timeout = 14;
};

class LcorePair {
  public:
    static constexpr uint32_t kLcores = 2;

    explicit LcorePair(const LcorePairOptions& options = {});
    ~LcorePair();

    struct Pair {
        Qp* client;
        Qp* server;
    };
    // Before run(). Owned by client engine `client` and server engine `server`.
    Pair connect(const memory::Region& region, uint32_t client, uint32_t server, uint16_t mtu_bytes,
                 Role role = Role::write);

    // Calls step(i) and polls both engines of lcore i, on both lcores at the same time, until both steps have
    // said false; then goes on until all is quiet. Returns on the main lcore.
    void run(const std::function<bool(uint32_t)>& step);

    uint32_t frames_in_use() const { return frames->capacity() - frames->free_count(); }

    const LcorePairOptions options;
    std::filesystem::path arena_directory;
    std::unique_ptr<memory::Arena> arena;
    std::unique_ptr<memory::FramePool> frames;
    std::unique_ptr<memory::RkeyTable> rkeys, client_rkeys;
    rte_rcu_qsbr* server_rcu = nullptr;
    rte_rcu_qsbr* client_rcu = nullptr;
    std::unique_ptr<memory::RegionTable> regions;
    std::unique_ptr<QpTable> server_qps, client_qps;
    std::unique_ptr<Engine> servers[kLcores], clients[kLcores];

  private:
    void make_engines();
    void make_ports();
    void poll_lcore(uint32_t index, const std::function<bool(uint32_t)>& step);

    rte_ring* rings_[2][kLcores] = {};  // to the server, to the clients
    uint16_t server_port_ = 0, client_port_ = 0;
    std::atomic<uint32_t> busy_{0};  // lcores whose step has not ended
    std::atomic<uint32_t> loud_{0};  // lcores that still find work
};

}  // namespace lagan::test
