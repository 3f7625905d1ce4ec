// SPDX-License-Identifier: BSD-3-Clause
#include "tests/support/lcore_pair.h"

#include <fmt/format.h>
#include <rte_eth_ring.h>
#include <rte_launch.h>
#include <rte_malloc.h>
#include <unistd.h>

#include <stdexcept>

namespace lagan::test {

namespace {

// A closed port's name stays taken.
uint16_t make_port(const char* side, rte_ring** rx, rte_ring** tx, rte_mempool* const* pools) {
    constexpr uint16_t kQueues = LcorePair::kLcores;
    static int counter = 0;
    const std::string name = fmt::format("{}{}", side, counter++);
    const int port = rte_eth_from_rings(name.c_str(), rx, kQueues, tx, kQueues, 0);
    if (port < 0) throw std::runtime_error("rte_eth_from_rings failed");
    const auto id = static_cast<uint16_t>(port);
    rte_eth_conf conf{};
    bool failed = rte_eth_dev_configure(id, kQueues, kQueues, &conf) != 0;
    for (uint16_t queue = 0; queue < kQueues; queue++)
        failed = failed || rte_eth_rx_queue_setup(id, queue, 512, 0, nullptr, pools[queue]) != 0 ||
                 rte_eth_tx_queue_setup(id, queue, 512, 0, nullptr) != 0;
    if (failed || rte_eth_dev_start(id) != 0) throw std::runtime_error("cannot start a ring port");
    return id;
}

}  // namespace

LcorePair::LcorePair(const LcorePairOptions& wanted) : options(wanted) {
    init_eal();
    if (rte_lcore_count() != kLcores) throw std::runtime_error("needs two lcores: LAGAN_TEST_EAL='-l 0,1'");
    arena_directory = fmt::format("/dev/shm/lagan-test-{}-lcores", getpid());
    arena = std::make_unique<memory::Arena>(
        memory::Arena::Options{.directory = arena_directory, .frame_bytes = options.frame_bytes});
    frames = std::make_unique<memory::FramePool>(arena->frames(), arena->frame_meta());
    rkeys = std::make_unique<memory::RkeyTable>(64);
    client_rkeys = std::make_unique<memory::RkeyTable>(16);
    server_rcu = make_rcu(kLcores);
    client_rcu = make_rcu(kLcores);
    regions = std::make_unique<memory::RegionTable>(*arena, *frames, *rkeys, server_rcu, 1024);
    server_qps = std::make_unique<QpTable>(64, server_rcu);
    client_qps = std::make_unique<QpTable>(64, client_rcu);
    make_engines();
    make_ports();
}

void LcorePair::make_engines() {
    for (uint32_t i = 0; i < kLcores; i++) {
        EngineOptions sizes{.index = i,
                            .header_mbufs = 4095,
                            .packet_mbufs = 2047,
                            .rx_mbufs = 2047,
                            .retire_capacity = 1024,
                            .max_qps = 64,
                            .control_ring = 256};
        servers[i] = std::make_unique<Engine>(Shared{.qps = *server_qps,
                                                     .rkeys = *rkeys,
                                                     .rcu = server_rcu,
                                                     .frames = frames.get(),
                                                     .budget = &regions->budget()},
                                              sizes);
        sizes.serve_capsules = false;
        clients[i] = std::make_unique<Engine>(
            Shared{.qps = *client_qps, .rkeys = *client_rkeys, .rcu = client_rcu}, sizes);
    }
    for (auto* side : {servers, clients})
        for (uint32_t i = 0; i < kLcores; i++)
            side[i]->peers = {side[0].get(), side[1].get()};
}

void LcorePair::make_ports() {
    for (uint32_t side = 0; side < 2; side++)
        for (uint32_t i = 0; i < kLcores; i++) {
            rings_[side][i] = rte_ring_create(fmt::format("lcores{}{}", side, i).c_str(), 1024, 0,
                                              RING_F_SP_ENQ | RING_F_SC_DEQ);
            if (rings_[side][i] == nullptr) throw std::runtime_error("no memory for a ring");
        }
    rte_mempool* pools[kLcores] = {servers[0]->rx_pool(), servers[1]->rx_pool()};
    server_port_ = make_port("lcores_server", rings_[0], rings_[1], pools);
    client_port_ = make_port("lcores_client", rings_[1], rings_[0], pools);
    for (uint16_t i = 0; i < kLcores; i++) {
        servers[i]->add_port(server_port_, i, false);
        clients[i]->add_port(client_port_, i, true);
    }
}

LcorePair::~LcorePair() {
    for (QpTable* table : {server_qps.get(), client_qps.get()}) {
        std::vector<uint32_t> qpns;
        table->for_each([&](Qp& qp) { qpns.push_back(qp.qpn); });
        for (uint32_t qpn : qpns)
            table->destroy(qpn);
    }
    run([](uint32_t) { return false; });
    server_qps->reap();
    client_qps->reap();
    for (uint16_t port : {server_port_, client_port_}) {
        rte_eth_dev_stop(port);
        rte_eth_dev_close(port);
    }
    for (auto& side : rings_)
        for (rte_ring* ring : side) {
            void* packet;
            while (rte_ring_dequeue(ring, &packet) == 0)
                rte_pktmbuf_free(static_cast<rte_mbuf*>(packet));
            rte_ring_free(ring);
        }
    for (uint32_t i = 0; i < kLcores; i++) {
        servers[i].reset();
        clients[i].reset();
    }
    regions.reset();
    arena->discard();
    rte_free(server_rcu);
    rte_free(client_rcu);
}

LcorePair::Pair LcorePair::connect(const memory::Region& region, uint32_t client, uint32_t server,
                                   uint16_t mtu_bytes, Role role) {
    QpAttributes c;
    c.path.port_id = client_port_;
    c.path.local_ip = net::IpAddress::parse("10.0.0.2");
    c.path.remote_ip = net::IpAddress::parse("10.0.0.1");
    c.mtu_bytes = mtu_bytes;
    c.ack_timeout = options.ack_timeout;
    c.rnr_timer = 1;
    QpAttributes s = c;
    s.path.port_id = server_port_;
    std::swap(s.path.local_ip, s.path.remote_ip);
    s.region_id = region.id;
    s.data_rkey = region.data_rkey;
    s.role = role;
    c.qpn = s.dest_qpn = client_qps->allocate_qpn();
    s.qpn = c.dest_qpn = server_qps->allocate_qpn();
    return {&client_qps->create(c, *clients[client]), &server_qps->create(s, *servers[server])};
}

void LcorePair::poll_lcore(uint32_t index, const std::function<bool(uint32_t)>& step) {
    for (rte_rcu_qsbr* rcu : {server_rcu, client_rcu}) {
        rte_rcu_qsbr_thread_register(rcu, index);
        rte_rcu_qsbr_thread_online(rcu, index);
    }
    // Frames that wait for the other lcore's quiescent state are work to come.
    const auto poll = [&] {
        return poll_once(*clients[index]) + poll_once(*servers[index]) + servers[index]->retire()->pending();
    };
    while (step(index))
        poll();
    busy_--;
    while (busy_ != 0)
        poll();
    // Quiet when both have found nothing for a while, which either's work may end.
    for (uint32_t idle = 0; loud_ != 0;) {
        if (poll() != 0) {
            if (idle >= 1000) loud_++;
            idle = 0;
        } else if (++idle == 1000) {
            loud_--;
        }
    }
    for (rte_rcu_qsbr* rcu : {server_rcu, client_rcu}) {
        rte_rcu_qsbr_thread_offline(rcu, index);
        rte_rcu_qsbr_thread_unregister(rcu, index);
    }
}

void LcorePair::run(const std::function<bool(uint32_t)>& step) {
    busy_ = loud_ = kLcores;
    struct Job {
        LcorePair* pair;
        const std::function<bool(uint32_t)>* step;
    } job{this, &step};
    const unsigned other = rte_get_next_lcore(UINT32_MAX, 1, 0);
    rte_eal_remote_launch(
        [](void* argument) {
            auto& given = *static_cast<Job*>(argument);
            given.pair->poll_lcore(1, *given.step);
            return 0;
        },
        &job, other);
    poll_lcore(0, step);
    rte_eal_mp_wait_lcore();
}

}  // namespace lagan::test
