// SPDX-License-Identifier: BSD-3-Clause
// The responder: requests built by Scapy get, byte for byte, the replies that Scapy would build; everything
// else is counted by reason and never answered.
#define BOOST_TEST_MODULE icmp
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>
#include <map>

#include "datapath/net/frame.h"
#include "datapath/net/responder.h"
#include "tests/unit/control_fixture.h"
#include "tests/unit/logged_seed.h"

using namespace lagan;
using namespace lagan::net;
using test::Frame;

using ControlEal = test::ControlEal;
BOOST_TEST_GLOBAL_FIXTURE(ControlEal);

namespace {

const std::string kArpRequest =
    "ffffffffffff525400000002080600010800060400015254000000020a0900020000000000000a090001"
    "000000000000000000000000000000000000";
const std::string kArpReply =
    "525400000002525400000001080600010800060400025254000000010a0900015254000000020a090002"
    "000000000000000000000000000000000000";
const std::string kTaggedArpRequest =
    "ffffffffffff525400000002810060070806"
    "00010800060400015254000000020a0900020000000000000a090001";
const std::string kTaggedArpReply =
    "525400000002525400000001810060070806"
    "00010800060400025254000000010a0900015254000000020a090002";
const std::string kSolicitation =
    "3333ff00000152540000000286dd6000000000203afffd000009000000000000000000000002ff0200000000000000000001ff00"
    "0001"
    "87002d3100000000fd0000090000000000000000000000010101525400000002";
const std::string kAdvertisement =
    "52540000000252540000000186dd6000000000203afffd000009000000000000000000000001fd00000900000000000000000000"
    "0002"
    "8800cc2c60000000fd0000090000000000000000000000010201525400000001";
const std::string kDuplicateDetection =
    "3333ff00000152540000000286dd6000000000183aff00000000000000000000000000000000ff0200000000000000000001ff00"
    "0001"
    "87007d9c00000000fd000009000000000000000000000001";
const std::string kDetectionAnswer =
    "33330000000152540000000186dd6000000000203afffd000009000000000000000000000001ff02000000000000000000000000"
    "0001"
    "88000a3520000000fd0000090000000000000000000000010201525400000001";
const std::string kEcho4 =
    "52540000000152540000000208004500002f00074000400126b30a0900020a090001"
    "08005459123400016c6167616e2070696e67207061796c6f616421";
const std::string kEcho4Reply =
    "52540000000252540000000108004500002f00074000400126b30a0900010a090002"
    "00005c59123400016c6167616e2070696e67207061796c6f616421";
const std::string kEcho6 =
    "52540000000152540000000286dd60000000001b3a40fd000009000000000000000000000002fd00000900000000000000000000"
    "0001"
    "8000e1ec123400016c6167616e2070696e67207061796c6f616421";
const std::string kEcho6Reply =
    "52540000000252540000000186dd60000000001b3a40fd000009000000000000000000000001fd00000900000000000000000000"
    "0002"
    "8100e0ec123400016c6167616e2070696e67207061796c6f616421";

struct Exchange {
    const char* name;
    const std::string& request;
    const std::string& reply;
    const char* counter;
};
const Exchange kExchanges[] = {
    {"ARP", kArpRequest, kArpReply, "arp_answered"},
    {"ARP with a tag", kTaggedArpRequest, kTaggedArpReply, "arp_answered"},
    {"neighbour solicitation", kSolicitation, kAdvertisement, "nd_answered"},
    {"duplicate address detection", kDuplicateDetection, kDetectionAnswer, "nd_answered"},
    {"ICMP echo", kEcho4, kEcho4Reply, "echo4_answered"},
    {"ICMPv6 echo", kEcho6, kEcho6Reply, "echo6_answered"},
};

struct Host {
    test::KeepingIo io;
    std::vector<PortConfig> ports{test::host_port(1)};
    NetCounters counters;
    NeighborTable neighbors{io, ports, counters};
    Responder responder{io, ports, neighbors, counters};

    // False: not taken (and freed here).
    bool feed(const Frame& frame, size_t segment_bytes = test::ControlEal::kRoomBytes, uint16_t port = 0) {
        rte_mbuf* packet = test::to_mbuf(frame, port, segment_bytes);
        if (responder.take(packet, 1'000'000)) return true;
        rte_pktmbuf_free(packet);
        return false;
    }

    std::map<std::string, uint64_t> counts() const {
        std::map<std::string, uint64_t> all;
        counters.for_each([&](const char* name, const char*, uint64_t value) {
            if (value != 0) all[name] = value;
        });
        return all;
    }
    // Exactly this one counter stands at one.
    bool only(const std::string& name) const {
        return counts() == std::map<std::string, uint64_t>{{name, 1}};
    }

    ~Host() { BOOST_TEST(test::ControlEal::all_mbufs_free()); }
};

// A request with one field set to something else: which reason must it be counted by?
struct Damage {
    const char* what;
    const std::string& request;
    size_t offset;
    uint8_t value;
    const char* counter;
    bool fix_checksum;
};

uint16_t sum_of(const Frame& bytes, size_t from, uint32_t sum = 0) {
    for (size_t i = from; i < bytes.size(); i += 2) {
        sum += static_cast<uint32_t>(bytes[i] << 8 | (i + 1 < bytes.size() ? bytes[i + 1] : 0));
    }
    while (sum > 0xffff)
        sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<uint16_t>(sum);
}

void store(Frame& frame, size_t offset, unsigned value) {
    frame[offset] = static_cast<uint8_t>(value >> 8);
    frame[offset + 1] = static_cast<uint8_t>(value);
}

// IPv4 header and ICMP, or ICMPv6, of an untagged frame without padding.
void fix_checksums(Frame& frame) {
    if (frame[12] == 0x08) {
        store(frame, 24, 0);
        const Frame header(frame.begin() + 14, frame.begin() + 34);
        store(frame, 24, static_cast<uint16_t>(~sum_of(header, 0)));
        store(frame, 36, 0);
        store(frame, 36, static_cast<uint16_t>(~sum_of(frame, 34)));
    } else {
        store(frame, 56, 0);
        const uint32_t pseudo = static_cast<uint32_t>(58 + (frame[18] << 8) + frame[19]);
        store(frame, 56, static_cast<uint16_t>(~sum_of(frame, 22, pseudo)));
    }
}

}  // namespace

BOOST_AUTO_TEST_CASE(requests_get_the_replies_that_scapy_builds) {
    for (const Exchange& exchange : kExchanges) {
        BOOST_TEST_CONTEXT(exchange.name) {
            Host host;
            BOOST_TEST(host.feed(test::from_hex(exchange.request)));
            BOOST_TEST(test::to_hex(host.io.take()) == exchange.reply);
            BOOST_TEST(host.io.sent.empty());
            BOOST_TEST(host.only(exchange.counter));
        }
    }
}

BOOST_AUTO_TEST_CASE(ethernet_padding_is_cut_from_ip_replies) {
    for (const Exchange& exchange : {kExchanges[4], kExchanges[5]}) {
        BOOST_TEST_CONTEXT(exchange.name) {
            Host host;
            Frame padded = test::from_hex(exchange.request);
            padded.resize(padded.size() + 7, 0xee);
            BOOST_TEST(host.feed(padded));
            BOOST_TEST(test::to_hex(host.io.take()) == exchange.reply);
        }
    }
}

BOOST_AUTO_TEST_CASE(large_echoes_work_in_one_segment_and_in_many) {
    for (const std::string& request : {kEcho4, kEcho6}) {
        for (const size_t segment_bytes : {size_t{2048}, size_t{100}, size_t{63}}) {
            Host host;
            Frame frame = test::from_hex(request);
            const bool ipv4 = frame[12] == 0x08;
            const size_t total =
                segment_bytes == 2048 ? 1514 : 4214;  // the second as the end of a jumbo frame
            while (frame.size() < total)
                frame.push_back(static_cast<uint8_t>(frame.size() * 7));
            store(frame, ipv4 ? 16 : 18, static_cast<unsigned>(total - (ipv4 ? 14 : 54)));
            fix_checksums(frame);
            BOOST_TEST(host.feed(frame, segment_bytes));
            const Frame reply = host.io.take();
            BOOST_TEST(reply.size() == total);
            Frame expected = reply;
            fix_checksums(expected);
            BOOST_TEST(expected == reply, "checksums");
            const size_t data = ipv4 ? 38 : 58;
            BOOST_TEST(std::equal(frame.begin() + static_cast<ptrdiff_t>(data), frame.end(),
                                  reply.begin() + static_cast<ptrdiff_t>(data)));
        }
    }
}

BOOST_AUTO_TEST_CASE(headers_split_over_segments_are_dropped_by_count) {
    for (const Exchange& exchange : kExchanges) {
        BOOST_TEST_CONTEXT(exchange.name) {
            for (size_t first = 1; first < 54; ++first) {
                Host host;
                host.feed(test::from_hex(exchange.request), first);
                for (const auto& sent : host.io.sent)
                    BOOST_TEST(test::to_hex(sent.frame) == exchange.reply);
            }
        }
    }
}

BOOST_AUTO_TEST_CASE(damaged_requests_are_counted_and_not_answered) {
    const Damage kDamages[] = {
        {"hardware type", kArpRequest, 15, 6, "malformed", false},
        {"protocol type", kArpRequest, 16, 0x86, "malformed", false},
        {"hardware address length", kArpRequest, 18, 8, "malformed", false},
        {"protocol address length", kArpRequest, 19, 16, "malformed", false},
        {"multicast sender", kArpRequest, 22, 0x53, "malformed", false},
        {"reverse ARP", kArpRequest, 21, 3, "ignored", false},
        {"a reply to no question", kArpRequest, 21, 2, "ignored", false},
        {"somebody else's address", kArpRequest, 41, 9, "not_for_us", false},
        {"our own address as sender", kArpRequest, 31, 1, "address_conflict", false},

        {"hop limit", kSolicitation, 21, 254, "malformed", true},
        {"checksum", kSolicitation, 57, 0, "malformed", false},
        {"code", kSolicitation, 55, 1, "malformed", true},
        {"multicast target", kSolicitation, 62, 0xff, "malformed", true},
        {"target not ours", kSolicitation, 77, 9, "not_for_us", true},
        {"option of length zero", kSolicitation, 79, 0, "malformed", true},
        {"option beyond the end", kSolicitation, 79, 2, "malformed", true},
        {"multicast in the option", kSolicitation, 80, 0x53, "malformed", true},
        {"multicast source", kSolicitation, 22, 0xff, "malformed", true},
        {"to another group", kSolicitation, 53, 2, "not_for_us", true},
        {"our own address as source", kSolicitation, 37, 1, "address_conflict", true},
        {"payload longer than the frame", kSolicitation, 19, 33, "malformed", false},
        {"payload too short", kSolicitation, 19, 20, "malformed", false},
        {"no payload", kSolicitation, 19, 0, "malformed", false},
        {"detection sent to a unicast address", kDuplicateDetection, 38, 0xfd, "malformed", true},

        {"IP version", kEcho4, 14, 0x55, "malformed", true},
        {"IP options", kEcho4, 14, 0x46, "unsupported", true},
        {"IP header checksum", kEcho4, 24, 0, "malformed", false},
        {"IP length beyond the frame", kEcho4, 17, 0x30, "malformed", true},
        {"IP length below ICMP's", kEcho4, 17, 27, "malformed", true},
        {"more fragments", kEcho4, 20, 0x20, "unsupported", true},
        {"fragment offset", kEcho4, 21, 1, "unsupported", true},
        {"ICMP checksum", kEcho4, 36, 0, "malformed", false},
        {"echo reply", kEcho4, 34, 0, "ignored", true},
        {"timestamp request", kEcho4, 34, 13, "ignored", true},
        {"code", kEcho4, 35, 1, "ignored", true},
        {"another destination", kEcho4, 33, 9, "not_for_us", true},
        {"another MAC", kEcho4, 5, 9, "not_for_us", false},
        {"broadcast MAC", kEcho4, 0, 0xff, "not_for_us", false},
        {"multicast source MAC", kEcho4, 6, 0x53, "malformed", false},
        {"multicast source", kEcho4, 26, 224, "malformed", true},
        {"source zero", kEcho4, 26, 0, "malformed", true},
        {"our own source", kEcho4, 29, 1, "malformed", true},

        {"ICMPv6 checksum", kEcho6, 56, 0, "malformed", false},
        {"IP version", kEcho6, 14, 0x40, "malformed", false},
        {"extension header", kEcho6, 20, 0, "unsupported", false},
        {"echo reply", kEcho6, 54, 129, "ignored", true},
        {"router advertisement", kEcho6, 54, 134, "ignored", true},
        {"another destination", kEcho6, 53, 9, "not_for_us", true},
        {"multicast source", kEcho6, 22, 0xff, "malformed", true},
        {"our own source", kEcho6, 37, 1, "malformed", true},
    };
    for (const Damage& damage : kDamages) {
        BOOST_TEST_CONTEXT(damage.what << " at offset " << damage.offset) {
            Host host;
            Frame frame = test::from_hex(damage.request);
            frame[damage.offset] = damage.value;
            if (damage.fix_checksum) fix_checksums(frame);
            BOOST_TEST(host.feed(frame));
            BOOST_TEST(host.io.sent.empty());
            BOOST_TEST(host.only(damage.counter));
        }
    }
}

BOOST_AUTO_TEST_CASE(solicitations_with_other_options_are_answered_with_one) {
    Host host;
    // A nonce (RFC 7527) before the link-layer address, and none at all.
    Frame frame = test::from_hex(kSolicitation);
    const Frame nonce = {14, 1, 1, 2, 3, 4, 5, 6};
    frame.insert(frame.begin() + 78, nonce.begin(), nonce.end());
    store(frame, 18, 40);
    fix_checksums(frame);
    BOOST_TEST(host.feed(frame));
    BOOST_TEST(test::to_hex(host.io.take()) == kAdvertisement);
    frame = test::from_hex(kSolicitation);
    frame.resize(78);
    store(frame, 18, 24);
    fix_checksums(frame);
    BOOST_TEST(host.feed(frame));
    BOOST_TEST(test::to_hex(host.io.take()) == kAdvertisement);
}

BOOST_AUTO_TEST_CASE(what_is_neither_arp_nor_icmp_is_left_to_the_caller) {
    Host host;
    Frame udp = test::from_hex(kEcho4);
    udp[23] = 17;
    BOOST_TEST(!host.feed(udp));
    Frame other = test::from_hex(kArpRequest);
    other[12] = 0x88;
    BOOST_TEST(!host.feed(other));
    BOOST_TEST(!host.feed(test::from_hex(kArpRequest), test::ControlEal::kRoomBytes, 5));  // no such port
    BOOST_TEST(!host.feed({}));
    BOOST_TEST(host.counts().empty());
}

BOOST_AUTO_TEST_CASE(truncations_and_random_damage_never_get_a_wrong_reply) {
    auto random = test::seeded_random();
    Host host;
    for (const Exchange& exchange : kExchanges) {
        const Frame whole = test::from_hex(exchange.request);
        for (size_t bytes = 0; bytes < whole.size(); ++bytes) {
            host.feed(Frame(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(bytes)));
            // ARP's own bytes may be all there when only its padding is cut.
            if (exchange.counter != std::string("arp_answered")) BOOST_TEST(host.io.sent.empty());
            host.io.sent.clear();
        }
        for (int round = 0; round < 20'000; ++round) {
            Frame frame = whole;
            for (unsigned i = 0, changes = 1 + random() % 4; i < changes; ++i) {
                frame[random() % frame.size()] = static_cast<uint8_t>(random());
            }
            frame.resize(random() % 8 == 0 ? random() % (frame.size() + 30) : frame.size());
            if (round % 2 == 0 && frame.size() >= whole.size() &&
                exchange.counter != std::string("arp_answered")) {
                frame.resize(whole.size());
                fix_checksums(frame);
            }
            host.feed(frame, 1 + random() % 200);
            for (const auto& sent : host.io.sent) {
                BOOST_TEST(sent.frame.size() <= frame.size() + 8);
                BOOST_REQUIRE(sent.frame.size() >= 42);
                BOOST_TEST(std::equal(sent.frame.begin() + 6, sent.frame.begin() + 12,
                                      host.ports[0].mac.addr_bytes));
            }
            host.io.sent.clear();
        }
    }
}
