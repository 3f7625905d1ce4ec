// SPDX-License-Identifier: BSD-3-Clause
#include "tests/support/loopback.h"

#include <fmt/format.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_eth_ring.h>
#include <rte_malloc.h>
#include <unistd.h>

#include <chrono>
#include <sstream>
#include <stdexcept>

namespace lagan::test {

namespace {

using Clock = std::chrono::steady_clock;

std::string unique(const char* what) {
    static int counter = 0;
    return fmt::format("{}{}", what, counter++);
}

uint16_t make_port(rte_ring* rx, rte_ring* tx, rte_mempool* pool) {
    const int port = rte_eth_from_rings(unique("lo").c_str(), &rx, 1, &tx, 1, 0);
    if (port < 0) throw std::runtime_error("rte_eth_from_rings failed");
    const auto id = static_cast<uint16_t>(port);
    rte_eth_conf conf{};
    if (rte_eth_dev_configure(id, 1, 1, &conf) != 0 ||
        rte_eth_rx_queue_setup(id, 0, 512, 0, nullptr, pool) != 0 ||
        rte_eth_tx_queue_setup(id, 0, 512, 0, nullptr) != 0 || rte_eth_dev_start(id) != 0)
        throw std::runtime_error("cannot start a ring port");
    return id;
}

}  // namespace

void init_eal() {
    static const bool done = [] {
        std::vector<std::string> arguments = {"test",
                                              "--no-huge",
                                              "--no-shconf",
                                              "-m",
                                              "768",
                                              "--no-pci",
                                              "--no-telemetry",
                                              "--iova-mode=va",
                                              "--log-level=lib.eal:4",
                                              "--file-prefix",
                                              fmt::format("lagan_test_{}", getpid())};
        if (const char* extra = std::getenv("LAGAN_TEST_EAL")) {
            std::istringstream words(extra);
            for (std::string word; words >> word;)
                arguments.push_back(word);
        }
        std::vector<char*> argv;
        for (std::string& argument : arguments)
            argv.push_back(argument.data());
        if (rte_eal_init(static_cast<int>(argv.size()), argv.data()) < 0)
            throw std::runtime_error(fmt::format("rte_eal_init: {}", rte_strerror(rte_errno)));
        return true;
    }();
    (void)done;
}

rte_rcu_qsbr* make_rcu(uint32_t threads) {
    auto* rcu = static_cast<rte_rcu_qsbr*>(rte_zmalloc("rcu", rte_rcu_qsbr_get_memsize(threads), 64));
    if (rcu == nullptr || rte_rcu_qsbr_init(rcu, threads) != 0) throw std::bad_alloc();
    return rcu;
}

Wire::Wire(uint16_t receiving_port, rte_mempool* pool, std::mt19937_64& random)
    : port_(receiving_port),
      pool_(pool),
      random_(random),
      callback_(rte_eth_add_rx_callback(receiving_port, 0, &Wire::on_receive, this)) {
    if (callback_ == nullptr) throw std::runtime_error("this DPDK has no RX callbacks");
}

Wire::~Wire() {
    rte_eth_remove_rx_callback(port_, 0, callback_);
    rte_pktmbuf_free_bulk(held_.data(), static_cast<unsigned>(held_.size()));
    for (const auto& [burst, packet] : ghosts_)
        rte_pktmbuf_free(packet);
}

uint16_t Wire::on_receive(uint16_t, uint16_t, rte_mbuf** packets, uint16_t count, uint16_t room, void* self) {
    return static_cast<Wire*>(self)->deliver(packets, count, room);
}

void Wire::corrupt(rte_mbuf* packet) {
    const uint64_t bit = random_() % (packet->data_len * 8ULL);
    rte_pktmbuf_mtod(packet, uint8_t*)[bit / 8] ^= static_cast<uint8_t>(1U << (bit % 8));
}

uint16_t Wire::deliver(rte_mbuf** packets, uint16_t count, uint16_t room) {
    std::vector<rte_mbuf*> out;
    out.swap(held_);
    burst_++;
    while (!ghosts_.empty() && ghosts_.begin()->first <= burst_) {
        out.push_back(ghosts_.begin()->second);
        ghosts_.erase(ghosts_.begin());
    }
    for (uint16_t i = 0; i < count; i++) {
        // A copy is what a wire makes of a chain; frames and their owners are not seen on the other side.
        rte_mbuf* packet = rte_pktmbuf_copy(packets[i], pool_, 0, UINT32_MAX);
        rte_pktmbuf_free(packets[i]);
        if (packet == nullptr) continue;
        if (chance(disturbance.drop_ppm) || (filter && !filter(packet))) {
            rte_pktmbuf_free(packet);
            continue;
        }
        if (chance(disturbance.duplicate_ppm)) {
            if (rte_mbuf* twin = rte_pktmbuf_copy(packet, pool_, 0, UINT32_MAX)) out.push_back(twin);
        }
        if (chance(disturbance.ghost_ppm)) {
            if (rte_mbuf* ghost = rte_pktmbuf_copy(packet, pool_, 0, UINT32_MAX))
                ghosts_.emplace(burst_ + 1 + random_() % 200, ghost);
        }
        if (chance(disturbance.corrupt_ppm)) corrupt(packet);
        (chance(disturbance.reorder_ppm) ? held_ : out).push_back(packet);
    }
    if (out.size() > room) {  // the rest comes next time, before all else, in its order
        held_.insert(held_.begin(), out.begin() + room, out.end());
        out.resize(room);
    }
    std::copy(out.begin(), out.end(), packets);
    delivered += out.size();
    return static_cast<uint16_t>(out.size());
}

Loopback::Loopback(const LoopbackOptions& wanted) : options(wanted), random(wanted.seed) {
    init_eal();
    arena_directory = fmt::format("/dev/shm/lagan-test-{}-{}", getpid(), unique("a"));
    arena = std::make_unique<memory::Arena>(
        memory::Arena::Options{.directory = arena_directory, .frame_bytes = options.frame_bytes});
    frames = std::make_unique<memory::FramePool>(arena->frames(), arena->frame_meta());
    rkeys = std::make_unique<memory::RkeyTable>(1024);
    server_rcu = make_rcu(2);  // one more than the engine: tests play a second lcore
    client_rcu = make_rcu(1);
    regions = std::make_unique<memory::RegionTable>(*arena, *frames, *rkeys, server_rcu, 1024);
    server_qps = std::make_unique<QpTable>(256, server_rcu);
    client_rkeys = std::make_unique<memory::RkeyTable>(16);
    client_qps = std::make_unique<QpTable>(256, client_rcu);

    // More packets than the rings hold: that mbufs run out is a bug.
    const EngineOptions sizes = {.serve_capsules = options.serve_capsules,
                                 .header_mbufs = 4095,
                                 .packet_mbufs = 2047,
                                 .rx_mbufs = 4095,
                                 .retire_capacity = 2048,
                                 .max_qps = 256,
                                 .control_ring = 256,
                                 .scrub_pages_per_second = options.scrub_pages_per_second};
    server = std::make_unique<Engine>(Shared{.qps = *server_qps,
                                             .rkeys = *rkeys,
                                             .rcu = server_rcu,
                                             .frames = frames.get(),
                                             .budget = &regions->budget()},
                                      sizes);
    EngineOptions client_sizes = sizes;
    client_sizes.serve_capsules = false;
    client = std::make_unique<Engine>(Shared{.qps = *client_qps, .rkeys = *client_rkeys, .rcu = client_rcu},
                                      client_sizes);
    client->completions = &log;

    for (rte_ring*& ring : rings_) {
        ring = rte_ring_create(unique("wire").c_str(), 1024, 0, RING_F_SP_ENQ | RING_F_SC_DEQ);
        if (ring == nullptr) throw std::runtime_error("no memory for a ring");
    }
    server_port = make_port(rings_[0], rings_[1], server->rx_pool());
    client_port = make_port(rings_[1], rings_[0], client->rx_pool());
    to_server = std::make_unique<Wire>(server_port, server->rx_pool(), random);
    to_client = std::make_unique<Wire>(client_port, client->rx_pool(), random);
    server->add_port(server_port, 0, options.server_linear);
    client->add_port(client_port, 0, true);
    for (rte_rcu_qsbr* rcu : {server_rcu, client_rcu}) {
        rte_rcu_qsbr_thread_register(rcu, 0);
        rte_rcu_qsbr_thread_online(rcu, 0);
    }
}

Loopback::~Loopback() {
    for (QpTable* table : {server_qps.get(), client_qps.get()}) {
        std::vector<uint32_t> qpns;
        table->for_each([&](Qp& qp) { qpns.push_back(qp.qpn); });
        for (uint32_t qpn : qpns)
            table->destroy(qpn);
    }
    for (int i = 0; i < 64; i++)
        poll();
    to_server.reset();
    to_client.reset();
    for (uint16_t port : {server_port, client_port}) {
        rte_eth_dev_stop(port);
        rte_eth_dev_close(port);
    }
    for (rte_ring* ring : rings_) {
        void* packet;
        while (rte_ring_dequeue(ring, &packet) == 0)
            rte_pktmbuf_free(static_cast<rte_mbuf*>(packet));
        rte_ring_free(ring);
    }
    server_qps->reap();
    client_qps->reap();
    server.reset();
    client.reset();
    regions.reset();
    arena->discard();
    rte_free(server_rcu);
    rte_free(client_rcu);
}

Loopback::Pair Loopback::connect(const memory::Region& region, Role role) {
    QpAttributes to_server_side;
    QpAttributes& c = to_server_side;
    c.path.port_id = client_port;
    c.path.local_ip = net::IpAddress::parse(options.ipv6 ? "fd00::2" : "10.0.0.2");
    c.path.remote_ip = net::IpAddress::parse(options.ipv6 ? "fd00::1" : "10.0.0.1");
    c.path.local_mac = {{2, 0, 0, 0, 0, 2}};
    c.path.remote_mac = {{2, 0, 0, 0, 0, 1}};
    c.mtu_bytes = options.mtu_bytes;
    c.receive_psn = c.send_psn = options.psn;
    c.ack_timeout = options.ack_timeout;
    c.retry_count = options.retry_count;
    c.rnr_retry = options.rnr_retry;
    c.rnr_timer = 1;
    c.responder_resources = options.responder_resources;
    c.initiator_depth = options.initiator_depth;
    QpAttributes s = c;
    s.path.port_id = server_port;
    std::swap(s.path.local_ip, s.path.remote_ip);
    std::swap(s.path.local_mac, s.path.remote_mac);
    s.region_id = region.id;
    s.data_rkey = region.data_rkey;
    s.role = role;
    c.qpn = s.dest_qpn = client_qps->allocate_qpn();
    s.qpn = c.dest_qpn = server_qps->allocate_qpn();
    return {&client_qps->create(c, *client), &server_qps->create(s, *server)};
}

void Loopback::disconnect(const Pair& pair) {
    client_qps->destroy(pair.client->qpn);
    server_qps->destroy(pair.server->qpn);
    for (int i = 0; i < 8; i++)
        poll();
    client_qps->reap();
    server_qps->reap();
}

uint32_t Loopback::poll() {
    return poll_once(*client) + poll_once(*server);
}

bool Loopback::poll_until(const std::function<bool()>& done, uint32_t max_ms) {
    const auto end = Clock::now() + std::chrono::milliseconds(max_ms);
    while (!done()) {
        for (int i = 0; i < 16; i++)
            poll();
        if (Clock::now() > end) return done();
    }
    return true;
}

void Loopback::settle() {
    for (int idle = 0; idle < 32;)
        idle = poll() == 0 ? idle + 1 : 0;
}

roce::WorkStatus Loopback::read(const Pair& pair, uint32_t rkey, uint64_t va, void* to, uint32_t bytes) {
    log.entries.clear();
    if (!roce::post_read(*client, *pair.client, 0, rkey, va, static_cast<std::byte*>(to), bytes) ||
        !wait_completions(1))
        return roce::WorkStatus::flushed;
    return log.entries.front().status;
}

roce::WorkStatus Loopback::write(const Pair& pair, uint32_t rkey, uint64_t va, const void* from,
                                 uint32_t bytes) {
    log.entries.clear();
    if (!roce::post_write(*client, *pair.client, 0, rkey, va, static_cast<const std::byte*>(from), bytes) ||
        !wait_completions(1))
        return roce::WorkStatus::flushed;
    return log.entries.front().status;
}

std::vector<std::byte> Loopback::call(const Pair& pair, const void* capsule, uint32_t bytes) {
    roce::post_send(*client, *pair.client, 0, static_cast<const std::byte*>(capsule), bytes);
    MessageRing& ring = pair.client->responder.received;
    if (!poll_until([&] { return !ring.empty(); })) return {};
    const MessageRing::Message& message = ring.at(ring.head++);
    return {message.data, message.data + message.bytes};
}

}  // namespace lagan::test
