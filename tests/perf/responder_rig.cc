// SPDX-License-Identifier: BSD-3-Clause
#include "tests/perf/responder_rig.h"

#include <fmt/format.h>
#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_eth_ring.h>
#include <rte_malloc.h>
#include <unistd.h>

#include <cstring>
#include <random>
#include <stdexcept>
#include <string>

#include "datapath/poll_loop.h"
#include "datapath/roce/aeth.h"
#include "datapath/roce/crc32.h"
#include "datapath/transmit.h"

namespace lagan::perf {

namespace {

constexpr uint32_t kPayloads = 64;  // different page contents
constexpr uint64_t kSlackFrames = 4096;
constexpr uint32_t kRingSlots = 2048;

}  // namespace

void init_eal(bool huge_pages) {
    std::vector<std::string> arguments = {"bench",
                                          "--no-shconf",
                                          "--no-pci",
                                          "--no-telemetry",
                                          "--iova-mode=va",
                                          "--log-level=lib.eal:4",
                                          "-m",
                                          "256",
                                          "--lcores=0",
                                          "--file-prefix",
                                          fmt::format("lagan_bench_{}", getpid())};
    arguments.push_back(huge_pages ? "--in-memory" : "--no-huge");
    std::vector<char*> argv;
    argv.reserve(arguments.size());
    for (std::string& argument : arguments)
        argv.push_back(argument.data());
    if (rte_eal_init(static_cast<int>(argv.size()), argv.data()) < 0)
        throw std::runtime_error(fmt::format("rte_eal_init: {}", rte_strerror(rte_errno)));
}

Rig::Rig(const RigOptions& options) : pool_bytes_(options.pool_bytes) {
    arena_ = std::make_unique<memory::Arena>(
        memory::Arena::Options{.directory = options.arena, .frame_bytes = options.pool_bytes});
    init_eal(options.huge_pages);
    frames_ = std::make_unique<memory::FramePool>(arena_->frames(), arena_->frame_meta());
    rkeys_ = std::make_unique<memory::RkeyTable>(1024);
    rcu_ = static_cast<rte_rcu_qsbr*>(rte_zmalloc("rcu", rte_rcu_qsbr_get_memsize(1), 64));
    if (rcu_ == nullptr || rte_rcu_qsbr_init(rcu_, 1) != 0) throw std::bad_alloc();
    regions_ = std::make_unique<memory::RegionTable>(*arena_, *frames_, *rkeys_, rcu_, kSlackFrames);
    qps_ = std::make_unique<QpTable>(1024, rcu_);
    engine_ = std::make_unique<Engine>(Shared{.qps = *qps_,
                                              .rkeys = *rkeys_,
                                              .rcu = rcu_,
                                              .frames = frames_.get(),
                                              .budget = &regions_->budget()},
                                       EngineOptions{});
    make_port();
    region_ = &regions_->create("bench", regions_->budget().usable() * memory::kPageBytes, 0, false);
    connect(options.qps);
    make_payloads();
    rte_rcu_qsbr_thread_register(rcu_, 0);
    rte_rcu_qsbr_thread_online(rcu_, 0);
}

Rig::~Rig() {
    for (Peer& peer : peers_)
        qps_->destroy(peer.server->qpn);
    for (uint32_t i = 0; i < peers_.size() + 8; i++)
        poll_once(*engine_);
    rte_eth_dev_stop(port_);
    rte_eth_dev_close(port_);
    qps_->reap();
    engine_.reset();
    regions_.reset();
    arena_->discard();
    for (rte_ring* ring : {to_engine_, from_engine_})
        rte_ring_free(ring);
    rte_free(rcu_);
}

void Rig::make_port() {
    to_engine_ = rte_ring_create("to_engine", kRingSlots, 0, RING_F_SP_ENQ | RING_F_SC_DEQ);
    from_engine_ = rte_ring_create("from_engine", kRingSlots, 0, RING_F_SP_ENQ | RING_F_SC_DEQ);
    if (to_engine_ == nullptr || from_engine_ == nullptr) throw std::bad_alloc();
    const int port = rte_eth_from_rings("bench", &to_engine_, 1, &from_engine_, 1, 0);
    if (port < 0) throw std::runtime_error("rte_eth_from_rings failed");
    port_ = static_cast<uint16_t>(port);
    rte_eth_conf conf{};
    if (rte_eth_dev_configure(port_, 1, 1, &conf) != 0 ||
        rte_eth_rx_queue_setup(port_, 0, 512, 0, nullptr, engine_->rx_pool()) != 0 ||
        rte_eth_tx_queue_setup(port_, 0, 512, 0, nullptr) != 0 || rte_eth_dev_start(port_) != 0)
        throw std::runtime_error("cannot start the ring port");
    engine_->add_port(port_, 0, false);
}

void Rig::connect(uint32_t qps) {
    for (uint32_t i = 0; i < qps; i++) {
        QpAttributes server;
        server.path.port_id = port_;
        server.path.local_ip = net::IpAddress::parse("10.0.0.1");
        server.path.remote_ip = net::IpAddress::parse(fmt::format("10.0.1.{}", i + 1));
        server.path.local_mac = {{2, 0, 0, 0, 0, 1}};
        server.path.remote_mac = {{2, 0, 0, 0, 1, static_cast<uint8_t>(i)}};
        server.path.udp_source_port = static_cast<uint16_t>(49152 + i);
        server.mtu_bytes = 4096;
        server.responder_resources = kMaxReadDepth;
        server.ack_timeout = 0;
        server.region_id = region_->id;
        server.data_rkey = region_->data_rkey;
        server.role = Role::write;
        QpAttributes client = server;
        std::swap(client.path.local_ip, client.path.remote_ip);
        std::swap(client.path.local_mac, client.path.remote_mac);
        server.qpn = client.dest_qpn = qps_->allocate_qpn();
        server.dest_qpn = client.qpn = 0x1000 + i;
        Peer& peer = peers_.emplace_back();
        peer.server = &qps_->create(server, *engine_);
        peer.local = std::make_unique<Qp>();
        init_qp(*peer.local, client, 0);
    }
}

void Rig::make_payloads() {
    std::mt19937_64 random(1);
    payloads_.resize(kPayloads);
    for (Payload& payload : payloads_) {
        for (uint8_t& byte : payload.bytes)
            byte = static_cast<uint8_t>(random());
        payload.crc = roce::crc32_raw(0, payload.bytes, sizeof payload.bytes);
    }
}

Rig::Peer& Rig::next_peer() {
    Peer& peer = peers_[next_peer_];
    next_peer_ = (next_peer_ + 1) % static_cast<uint32_t>(peers_.size());
    return peer;
}

rte_mbuf* Rig::start(Peer& peer, const Request& request, uint8_t*& extension) {
    rte_mbuf* packet = rte_pktmbuf_alloc(engine_->rx_pool());
    if (packet == nullptr) throw std::runtime_error("no mbuf for a request");
    extension = write_headers(*peer.local,
                              {.opcode = request.opcode,
                               .psn = peer.psn,
                               .extension_bytes = request.extension_bytes,
                               .payload_bytes = request.payload_bytes,
                               .ack_request = true},
                              rte_pktmbuf_mtod(packet, uint8_t*));
    return packet;
}

void Rig::finish(const Peer& peer, rte_mbuf* packet, const Request& request, uint8_t* extension,
                 uint32_t payload_crc) {
    const uint32_t headers =
        header_icrc_state(*peer.local, rte_pktmbuf_mtod(packet, uint8_t*), request.extension_bytes);
    uint8_t* trailer = extension + request.extension_bytes + request.payload_bytes;
    trailer += write_trailer(trailer, request.payload_bytes,
                             roce::crc32_shift(headers, request.payload_bytes) ^ payload_crc);
    packet->data_len = static_cast<uint16_t>(trailer - rte_pktmbuf_mtod(packet, uint8_t*));
    packet->pkt_len = packet->data_len;
    if (rte_ring_enqueue(to_engine_, packet) != 0) throw std::runtime_error("too many requests at a time");
}

void Rig::read(uint64_t va, uint32_t bytes) {
    constexpr Request kRequest = {roce::Opcode::rc_read_request, sizeof(roce::Reth), 0};
    Peer& peer = next_peer();
    uint8_t* extension;
    rte_mbuf* packet = start(peer, kRequest, extension);
    auto& reth = *reinterpret_cast<roce::Reth*>(extension);
    reth.va = va;
    reth.rkey = region_->data_rkey;
    reth.length = bytes;
    finish(peer, packet, kRequest, extension, 0);
    peer.psn = roce::psn_add(peer.psn, 1);
}

void Rig::write_page(uint64_t page) {
    constexpr Request kRequest = {roce::Opcode::rc_write_only, sizeof(roce::Reth), memory::kPageBytes};
    Peer& peer = next_peer();
    uint8_t* extension;
    rte_mbuf* packet = start(peer, kRequest, extension);
    auto& reth = *reinterpret_cast<roce::Reth*>(extension);
    reth.va = page * memory::kPageBytes;
    reth.rkey = region_->data_rkey;
    reth.length = memory::kPageBytes;
    const Payload& payload = payloads_[next_payload_++ % kPayloads];
    std::memcpy(extension + sizeof reth, payload.bytes, sizeof payload.bytes);
    finish(peer, packet, kRequest, extension, payload.crc);
    peer.psn = roce::psn_add(peer.psn, 1);
}

void Rig::free_pages(const uint32_t* pages, uint32_t count) {
    const Request request = {
        roce::Opcode::rc_send_only, 0,
        static_cast<uint32_t>(sizeof(capsule::Header) + count * sizeof(capsule::PageRange))};
    Peer& peer = next_peer();
    uint8_t* message;
    rte_mbuf* packet = start(peer, request, message);
    auto& header = *reinterpret_cast<capsule::Header*>(message);
    header = {.version = capsule::kVersion,
              .opcode = static_cast<uint8_t>(capsule::Opcode::free_pages),
              .status = 0,
              .tag = peer.psn,
              .count = count,
              .reserved = 0};
    auto* ranges = reinterpret_cast<capsule::PageRange*>(message + sizeof header);
    for (uint32_t i = 0; i < count; i++) {
        ranges[i].first_page = pages[i];
        ranges[i].page_count = 1;
    }
    finish(peer, packet, request, message, roce::crc32_raw(0, message, request.payload_bytes));
    peer.psn = roce::psn_add(peer.psn, 1);
    peer.messages_unacknowledged++;
}

uint32_t Rig::drain(Look look, void* context) {
    rte_mbuf* replies[2 * kBurst];
    const uint32_t count =
        rte_ring_sc_dequeue_burst(from_engine_, reinterpret_cast<void**>(replies), 2 * kBurst, nullptr);
    if (look != nullptr)
        for (uint32_t i = 0; i < count; i++)
            look(replies[i], context);
    if (count != 0) rte_pktmbuf_free_bulk(replies, count);
    return count;
}

uint64_t Rig::serve(Look look, void* context) {
    const uint64_t start_tsc = rte_rdtsc_precise();
    uint32_t work;
    do {
        work = poll_once(*engine_);
        work += drain(look, context);
        work += engine_->retire()->pending();
    } while (work != 0);
    return rte_rdtsc_precise() - start_tsc;
}

void Rig::acknowledge_messages() {
    constexpr Request kAck = {roce::Opcode::rc_ack, sizeof(roce::Aeth), 0};
    for (Peer& peer : peers_) {
        if (peer.messages_unacknowledged == 0) continue;
        const uint32_t request_psn = peer.psn;
        peer.psn =
            roce::psn_add(peer.server->requester.next_psn, roce::kPsnMask);  // the last one that it sent
        uint8_t* extension;
        rte_mbuf* packet = start(peer, kAck, extension);
        peer.psn = request_psn;
        auto& aeth = *reinterpret_cast<roce::Aeth*>(extension);
        aeth.syndrome = roce::kAckNoCredits;
        aeth.msn = 0;
        finish(peer, packet, kAck, extension, 0);
        peer.messages_unacknowledged = 0;
    }
    serve();
}

}  // namespace lagan::perf
