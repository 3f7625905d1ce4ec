// SPDX-License-Identifier: BSD-3-Clause
// What the control side's tests share: an EAL without devices or huge pages, mbufs, and a PacketIo that keeps
// what is sent.
#pragma once

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_mbuf.h>
#include <unistd.h>

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cstdint>
#include <cstring>
#include <deque>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "datapath/net/packet_io.h"
#include "datapath/net/port_config.h"

namespace lagan::test {

using Frame = std::vector<uint8_t>;

// One EAL and one pool a test executable: BOOST_TEST_GLOBAL_FIXTURE.
class ControlEal {
  public:
    static constexpr unsigned kMbufs = 1023;
    static constexpr unsigned kRoomBytes = 2048;

    ControlEal() {
        std::vector<std::string> args{"test",
                                      "--no-huge",
                                      "--no-shconf",
                                      "-m",
                                      "32",
                                      "--no-pci",
                                      "--log-level",
                                      "error",
                                      "--no-telemetry",
                                      "-l",
                                      "0",
                                      "--iova-mode=va",
                                      "--file-prefix",
                                      "lagan_control_test" + std::to_string(getpid())};
        std::vector<char*> argv;
        for (std::string& arg : args)
            argv.push_back(arg.data());
        if (rte_eal_init(static_cast<int>(argv.size()), argv.data()) < 0) {
            throw std::runtime_error(std::string("rte_eal_init: ") + rte_strerror(rte_errno));
        }
        pool() = rte_pktmbuf_pool_create("control", kMbufs, 0, 0, RTE_PKTMBUF_HEADROOM + kRoomBytes,
                                         SOCKET_ID_ANY);
        if (pool() == nullptr) throw std::runtime_error(std::string("mbuf pool: ") + rte_strerror(rte_errno));
    }
    ~ControlEal() { rte_eal_cleanup(); }

    static rte_mempool*& pool() {
        static rte_mempool* the_pool = nullptr;
        return the_pool;
    }
    static bool all_mbufs_free() { return rte_mempool_avail_count(pool()) == kMbufs; }
};

// The frame in an mbuf that came in on `port`, in segments of at most `segment_bytes`.
inline rte_mbuf* to_mbuf(const Frame& frame, uint16_t port, size_t segment_bytes = ControlEal::kRoomBytes) {
    rte_mbuf* head = nullptr;
    size_t done = 0;
    do {
        rte_mbuf* segment = rte_pktmbuf_alloc(ControlEal::pool());
        BOOST_REQUIRE(segment != nullptr);
        const size_t bytes = std::min(segment_bytes, frame.size() - done);
        char* to = rte_pktmbuf_append(segment, static_cast<uint16_t>(bytes));
        BOOST_REQUIRE(to != nullptr);
        if (bytes != 0) std::memcpy(to, frame.data() + done, bytes);
        done += bytes;
        if (head == nullptr) {
            head = segment;
        } else {
            BOOST_REQUIRE_EQUAL(rte_pktmbuf_chain(head, segment), 0);
        }
    } while (done < frame.size());
    head->port = port;
    // As drivers leave it: none of this may be taken for a transmit offload.
    head->ol_flags |= RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_RSS_HASH;
    return head;
}

class KeepingIo : public net::PacketIo {
  public:
    struct Sent {
        uint16_t port;
        Frame frame;
    };

    rte_mbuf* allocate() override { return starved ? nullptr : rte_pktmbuf_alloc(ControlEal::pool()); }

    void transmit(uint16_t port, rte_mbuf* packet) override {
        BOOST_TEST(packet->ol_flags == 0U);
        Frame frame(packet->pkt_len);
        const void* bytes = rte_pktmbuf_read(packet, 0, packet->pkt_len, frame.data());
        BOOST_REQUIRE(bytes != nullptr);
        if (bytes != frame.data()) std::memcpy(frame.data(), bytes, frame.size());
        rte_pktmbuf_free(packet);
        sent.push_back({port, std::move(frame)});
    }

    // The oldest frame that was sent and not taken yet.
    Frame take() {
        BOOST_REQUIRE(!sent.empty());
        Frame frame = std::move(sent.front().frame);
        sent.pop_front();
        return frame;
    }

    std::deque<Sent> sent;
    bool starved = false;
};

inline Frame from_hex(std::string_view hex) {
    Frame bytes;
    for (size_t i = 0; i + 1 < hex.size(); i += 2) {
        bytes.push_back(static_cast<uint8_t>(std::stoul(std::string(hex.substr(i, 2)), nullptr, 16)));
    }
    return bytes;
}

inline std::string to_hex(const Frame& bytes) {
    constexpr char kDigits[] = "0123456789abcdef";
    std::string hex;
    for (const uint8_t byte : bytes)
        hex.append({kDigits[byte >> 4], kDigits[byte & 15]});
    return hex;
}

// The two hosts of the captures: 10.9.0.N and fd00:9::N at 52:54:00:00:00:0N.
inline net::PortConfig host_port(uint8_t host, uint16_t port_id = 0) {
    net::PortConfig port;
    port.port_id = port_id;
    port.mac = {{0x52, 0x54, 0, 0, 0, host}};
    port.addresses = {net::IpPrefix::parse("10.9.0." + std::to_string(host) + "/24"),
                      net::IpPrefix::parse("fd00:9::" + std::to_string(host) + "/64")};
    port.mtu = 4300;
    return port;
}

}  // namespace lagan::test
