// SPDX-License-Identifier: BSD-3-Clause
// Any frames as what the poll loop punts: ARP, ND, ICMP and CM messages, to a control plane that listens and
// one that is connecting. No mbuf is lost, no queue pair is used against its provider's rules, and the tables
// stay within their limits.
#include <rte_eal.h>
#include <rte_mbuf.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <set>
#include <string>

#include "datapath/cm/control_plane.h"
#include "datapath/roce/icrc.h"
#include "tests/fuzz/target.h"
#include "tests/unit/pcap_reader.h"

using namespace lagan;
using lagan::test::check;
using lagan::test::Frame;

namespace {

constexpr unsigned kMbufs = 1023;
constexpr uint16_t kService = 7174;  // of rping

rte_mempool* make_pool() {
    std::vector<std::string> arguments = {"fuzz",
                                          "--no-huge",
                                          "--no-shconf",
                                          "-m",
                                          "32",
                                          "--no-pci",
                                          "--no-telemetry",
                                          "-l",
                                          "0",
                                          "--iova-mode=va",
                                          "--log-level",
                                          "error",
                                          "--file-prefix",
                                          "lagan_fuzz_" + std::to_string(getpid())};
    std::vector<char*> argv;
    for (std::string& argument : arguments)
        argv.push_back(argument.data());
    check(rte_eal_init(static_cast<int>(argv.size()), argv.data()) >= 0, "EAL starts");
    rte_mempool* pool =
        rte_pktmbuf_pool_create("fuzz", kMbufs, 0, 0, RTE_PKTMBUF_HEADROOM + 2048, SOCKET_ID_ANY);
    check(pool != nullptr, "there is memory for mbufs");
    return pool;
}

rte_mempool* pool() {
    static rte_mempool* the_pool = make_pool();
    return the_pool;
}

uint64_t sent = 0, made = 0;

struct Sink final : net::PacketIo {
    rte_mbuf* allocate() override { return rte_pktmbuf_alloc(pool()); }
    void transmit(uint16_t, rte_mbuf* packet) override {
        sent++;
        rte_pktmbuf_free(packet);
    }
};

struct Provider final : cm::QpProvider {
    uint32_t allocate_qpn() override {
        if (allocated.size() + live.size() >= 64) return 0;
        allocated.insert(++last);
        return last;
    }
    void release_qpn(uint32_t qpn) override {
        check(allocated.erase(qpn) == 1, "a number is given back once");
    }
    bool create(const QpAttributes& attributes, uint32_t) override {
        check(allocated.contains(attributes.qpn), "a queue pair has a number that was allocated for it");
        check(std::has_single_bit(attributes.mtu_bytes) && attributes.mtu_bytes >= 256 &&
                  attributes.mtu_bytes <= 4096,
              "a queue pair has a path MTU that there is");
        check((attributes.receive_psn | attributes.send_psn | attributes.dest_qpn) <= 0xffffff,
              "PSN and QPN have 24 bits");
        if (last % 7 == 0) return false;
        allocated.erase(attributes.qpn);
        live.insert(attributes.qpn);
        made++;
        return true;
    }
    void destroy(uint32_t qpn) override { check(live.erase(qpn) == 1, "a queue pair is destroyed once"); }
    bool has_received(uint32_t qpn) override { return qpn % 2 == 0; }
    bool is_gone(uint32_t) override { return ++asked % 5 != 0; }

    uint64_t asked = 0;
    uint32_t last = 0x100;
    std::set<uint32_t> allocated, live;
};

// The two hosts of the captures, so that what they say to each other is meant for us.
net::PortConfig port_of(uint8_t host) {
    net::PortConfig port;
    port.mac = {{0x52, 0x54, 0, 0, 0, host}};
    port.addresses = {net::IpPrefix::parse("10.9.0." + std::to_string(host) + "/24"),
                      net::IpPrefix::parse("fd00:9::" + std::to_string(host) + "/64")};
    port.mtu = 4300;
    return port;
}

// Mends the ICRC if there is one, or hardly any CM message would get in.
void mend(Frame& frame) {
    roce::Packet packet{};
    const auto decoded = roce::decode(frame.data(), static_cast<uint32_t>(frame.size()), packet);
    if (decoded.result != roce::DecodeResult::punt || frame.size() < 200 || packet.info == nullptr) return;
    const uint32_t state =
        roce::crc32_raw(roce::icrc_header_state(packet.ip, packet.is_ipv6, packet.transport_header_bytes()),
                        packet.payload, packet.payload_bytes + packet.pad_bytes);
    roce::icrc_store(const_cast<uint8_t*>(packet.icrc()), state);
}

void feed(cm::ControlPlane& plane, const Frame& frame, uint64_t now_us) {
    rte_mbuf* mbuf = rte_pktmbuf_alloc(pool());
    check(mbuf != nullptr, "mbufs come back");
    mbuf->port = 0;
    if (char* to = rte_pktmbuf_append(mbuf, static_cast<uint16_t>(frame.size())))
        if (!frame.empty()) std::memcpy(to, frame.data(), frame.size());
    plane.on_punted(mbuf, now_us);
}

}  // namespace

// An input is frames, each behind two bytes of length (the lowest bit: mended or as it is).
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    pool();
    Sink sink;
    Provider provider;
    const cm::CmOptions options{
        .max_connections = 32, .max_half_open = 16, .max_half_open_per_source = 8, .seed = 1};
    for (uint8_t host : {uint8_t{1}, uint8_t{2}}) {
        cm::ControlPlane plane(sink, {port_of(host)}, provider, options);
        plane.connections().listen(kService, [](const cm::ConnectRequest& request) {
            cm::AcceptDecision decision;
            decision.accepted = request.private_data.empty() || request.private_data[0] % 4 != 3;
            return decision;
        });
        if (host == 2) {
            cm::ConnectParams params;
            params.path.remote_ip = net::IpAddress::parse("10.9.0.1");
            params.path.local_ip = net::IpAddress::parse("10.9.0.2");
            params.service_port = kService;
            plane.connect(params, [](const cm::ConnectResult&) {});
        }
        uint64_t now_us = 1'000'000;
        for (size_t at = 0; at + 2 < size;) {
            const size_t length = static_cast<size_t>(data[at] << 8 | data[at + 1]);
            const size_t bytes = std::min({length / 2, size - at - 2, size_t{2000}});
            Frame frame(data + at + 2, data + at + 2 + bytes);
            if (length % 2 == 1) mend(frame);
            feed(plane, frame, now_us);
            now_us += 1000 * (length % 97);
            plane.tick(now_us);
            check(plane.connections().size() <= 32, "no more connections than allowed");
            at += 2 + bytes;
        }
        for (int i = 0; i < 20; i++)
            plane.tick(now_us += 500'000);
    }
    check(provider.live.empty() && provider.allocated.empty(),
          "every queue pair goes with its control plane");
    check(rte_mempool_avail_count(pool()) == kMbufs, "every mbuf comes back");
    return 0;
}

std::vector<lagan::test::Input> lagan::test::fuzz_seeds() {
    std::vector<Input> seeds;
    Input all;
    for (const Frame& frame : read_all_captures()) {
        roce::Packet packet;
        if (roce::decode(frame.data(), static_cast<uint32_t>(frame.size()), packet).result !=
            roce::DecodeResult::punt)
            continue;
        const size_t length = frame.size() * 2 + 1;
        Input seed = {static_cast<uint8_t>(length >> 8), static_cast<uint8_t>(length)};
        seed.insert(seed.end(), frame.begin(), frame.end());
        all.insert(all.end(), seed.begin(), seed.end());
        seeds.push_back(std::move(seed));
    }
    seeds.push_back(std::move(all));
    return seeds;
}

std::string lagan::test::fuzz_summary() {
    return std::to_string(sent) + " packets sent, " + std::to_string(made) + " queue pairs made";
}
