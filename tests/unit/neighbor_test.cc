// SPDX-License-Identifier: BSD-3-Clause
// Neighbours: asked for with retries, learned from answers and from those who ask us, and neither crowded out
// nor changed by strangers.
#define BOOST_TEST_MODULE neighbor
#include "datapath/net/neighbor.h"

#include <boost/test/unit_test.hpp>

#include "datapath/net/responder.h"
#include "tests/unit/control_fixture.h"

using namespace lagan;
using namespace lagan::net;
using test::Frame;
using ControlEal = test::ControlEal;
BOOST_TEST_GLOBAL_FIXTURE(ControlEal);

namespace {

const rte_ether_addr kPeerMac = {{0x52, 0x54, 0, 0, 0, 2}};
const rte_ether_addr kOtherMac = {{0x52, 0x54, 0, 0, 0, 3}};
const IpAddress kPeer4 = IpAddress::parse("10.9.0.2");
const IpAddress kPeer6 = IpAddress::parse("fd00:9::2");
constexpr uint64_t kSecond = 1'000'000;

// By Scapy, as in icmp_test.cc.
const std::string kOurSolicitation =
    "3333ff00000252540000000186dd6000000000203afffd000009000000000000000000000001ff0200000000000000000001ff00"
    "0002"
    "87002d3100000000fd0000090000000000000000000000020101525400000001";
const std::string kAdvertisement =
    "52540000000152540000000286dd6000000000203afffd000009000000000000000000000002fd00000900000000000000000000"
    "0001"
    "8800cc2a60000000fd0000090000000000000000000000020201525400000002";
const std::string kOurArpRequest =
    "ffffffffffff525400000001080600010800060400015254000000010a0900010000000000000a090002";
const std::string kArpReply =
    "525400000001525400000002080600010800060400025254000000020a0900025254000000010a090001";

struct Host {
    explicit Host(NeighborLimits limits = {}) : neighbors(io, ports, counters, limits) {}
    ~Host() { BOOST_TEST(test::ControlEal::all_mbufs_free()); }

    void feed(const std::string& hex, uint64_t now_us) {
        BOOST_TEST(responder.take(test::to_mbuf(test::from_hex(hex), 0), now_us));
    }
    bool resolves_to(const IpAddress& ip, const rte_ether_addr& mac, uint64_t now_us) {
        const auto found = neighbors.resolve(0, ip, now_us);
        return found && rte_is_same_ether_addr(&*found, &mac);
    }

    test::KeepingIo io;
    std::vector<PortConfig> ports{test::host_port(1)};
    NetCounters counters;
    NeighborTable neighbors;
    Responder responder{io, ports, neighbors, counters};
};

IpAddress stranger(unsigned number) {
    IpAddress ip = IpAddress::parse("fd00:9::1:0");
    ip.bytes[12] = static_cast<uint8_t>(number >> 8);
    ip.bytes[15] = static_cast<uint8_t>(number);
    return ip;
}

}  // namespace

BOOST_AUTO_TEST_CASE(an_ipv4_neighbour_is_asked_for_and_learned) {
    Host host;
    BOOST_TEST(!host.neighbors.resolve(0, kPeer4, 0));
    BOOST_TEST(test::to_hex(host.io.take()) == kOurArpRequest);
    host.feed(kArpReply, 1000);
    BOOST_TEST(host.resolves_to(kPeer4, kPeerMac, 2000));
    BOOST_TEST(host.io.sent.empty());
    BOOST_TEST(host.counters.arp_learned == 1U);
}

BOOST_AUTO_TEST_CASE(an_ipv6_neighbour_is_asked_for_and_learned) {
    Host host;
    BOOST_TEST(!host.neighbors.resolve(0, kPeer6, 0));
    BOOST_TEST(test::to_hex(host.io.take()) == kOurSolicitation);
    host.feed(kAdvertisement, 1000);
    BOOST_TEST(host.resolves_to(kPeer6, kPeerMac, 2000));
    BOOST_TEST(host.counters.nd_learned == 1U);
}

BOOST_AUTO_TEST_CASE(questions_are_repeated_every_200_ms_and_end) {
    Host host;
    for (uint64_t now = 0; now <= 5 * kSecond; now += 10'000) {
        if (!host.neighbors.unreachable(0, kPeer4)) host.neighbors.resolve(0, kPeer4, now);
        host.neighbors.tick(now);
    }
    BOOST_TEST(host.io.sent.size() == 15U);
    BOOST_TEST(host.neighbors.unreachable(0, kPeer4));
    BOOST_TEST(host.counters.neighbor_unreachable == 1U);
    host.feed(kArpReply, 5 * kSecond);  // too late: nobody asks any more
    BOOST_TEST(!host.neighbors.resolve(0, kPeer4, 5 * kSecond));
    BOOST_TEST(!host.neighbors.unreachable(0, kPeer4));
    BOOST_TEST(host.io.sent.size() == 16U);
}

BOOST_AUTO_TEST_CASE(a_reply_that_nobody_asked_for_teaches_nothing) {
    Host host;
    host.feed(kArpReply, 0);
    host.feed(kAdvertisement, 0);
    BOOST_TEST(host.neighbors.size() == 0U);
    BOOST_TEST(!host.neighbors.resolve(0, kPeer4, 0));
}

BOOST_AUTO_TEST_CASE(a_known_neighbour_is_not_changed_by_claims) {
    Host host;
    host.neighbors.resolve(0, kPeer4, 0);
    BOOST_TEST(host.neighbors.learn_from_reply(0, kPeer4, kPeerMac, 0));
    BOOST_TEST(!host.neighbors.learn_from_reply(0, kPeer4, kOtherMac, 1));
    host.neighbors.learn_from_request(0, kPeer4, kOtherMac, 1);
    BOOST_TEST(host.resolves_to(kPeer4, kPeerMac, 2));
}

BOOST_AUTO_TEST_CASE(an_old_neighbour_is_used_while_it_is_asked_again_and_may_have_moved) {
    Host host;
    host.neighbors.learn_from_request(0, kPeer4, kPeerMac, 0);
    BOOST_TEST(host.resolves_to(kPeer4, kPeerMac, 29 * kSecond));
    BOOST_TEST(host.io.sent.empty());
    BOOST_TEST(host.resolves_to(kPeer4, kPeerMac, 31 * kSecond));
    BOOST_TEST(test::to_hex(host.io.take()) == kOurArpRequest);
    BOOST_TEST(host.neighbors.learn_from_reply(0, kPeer4, kOtherMac, 31 * kSecond));
    BOOST_TEST(host.resolves_to(kPeer4, kOtherMac, 32 * kSecond));
}

BOOST_AUTO_TEST_CASE(a_silent_old_neighbour_is_given_up) {
    Host host;
    host.neighbors.learn_from_request(0, kPeer4, kPeerMac, 0);
    for (uint64_t now = 31 * kSecond; now < 36 * kSecond; now += 100'000) {
        if (now == 31 * kSecond) BOOST_TEST(host.resolves_to(kPeer4, kPeerMac, now));
        host.neighbors.tick(now);
    }
    BOOST_TEST(host.neighbors.unreachable(0, kPeer4));
}

BOOST_AUTO_TEST_CASE(one_who_asks_us_is_learned_if_it_can_be_a_neighbour) {
    Host host;
    host.feed("ffffffffffff525400000002080600010800060400015254000000020a0900020000000000000a090001", 0);
    BOOST_TEST(host.resolves_to(kPeer4, kPeerMac, 1));
    host.neighbors.learn_from_request(0, IpAddress::parse("192.168.7.7"), kOtherMac, 0);
    host.neighbors.learn_from_request(0, IpAddress::parse("10.9.0.1"), kOtherMac, 0);  // our own
    host.neighbors.learn_from_request(9, kPeer4, kOtherMac, 0);                        // no such port
    BOOST_TEST(host.neighbors.size() == 1U);
}

BOOST_AUTO_TEST_CASE(strangers_neither_grow_the_table_nor_push_out_what_is_in_use) {
    Host host({.max_entries = 16});
    host.neighbors.resolve(0, kPeer4, 0);
    BOOST_TEST(host.neighbors.learn_from_reply(0, kPeer4, kPeerMac, 0));
    for (unsigned i = 0; i < 5000; ++i)
        host.neighbors.learn_from_request(0, stranger(i), kOtherMac, i);
    BOOST_TEST(host.neighbors.size() == 16U);
    BOOST_TEST(host.resolves_to(kPeer4, kPeerMac, 6000));
    // Our own lookups take the strangers' places, and stop at the limit while all are being asked for.
    for (unsigned i = 0; i < 100; ++i)
        host.neighbors.resolve(0, stranger(10'000 + i), 6000 + i);
    BOOST_TEST(host.neighbors.size() == 16U);
    BOOST_TEST(host.counters.neighbor_table_full > 0U);
}

BOOST_AUTO_TEST_CASE(unused_neighbours_are_forgotten) {
    Host host;
    host.neighbors.learn_from_request(0, kPeer4, kPeerMac, 0);
    host.neighbors.tick(299 * kSecond);
    BOOST_TEST(host.neighbors.size() == 1U);
    host.neighbors.tick(301 * kSecond);
    BOOST_TEST(host.neighbors.size() == 0U);
}

BOOST_AUTO_TEST_CASE(without_mbufs_or_an_address_of_the_family_a_lookup_fails_in_time) {
    Host host;
    host.io.starved = true;
    host.ports[0].addresses.pop_back();  // no IPv6
    host.neighbors.resolve(0, kPeer4, 0);
    host.neighbors.resolve(0, kPeer6, 0);
    for (uint64_t now = 0; now < 4 * kSecond; now += 100'000)
        host.neighbors.tick(now);
    BOOST_TEST(host.neighbors.unreachable(0, kPeer4));
    BOOST_TEST(host.neighbors.unreachable(0, kPeer6));
    BOOST_TEST(host.counters.no_mbuf == 15U);
    BOOST_TEST(host.io.sent.empty());
}
