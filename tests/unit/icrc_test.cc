// SPDX-License-Identifier: BSD-3-Clause
// The ICRC against captures of Linux rxe, and against vectors made by other programs.
#define BOOST_TEST_MODULE icrc
#include "datapath/roce/icrc.h"

#include <boost/algorithm/hex.hpp>
#include <boost/test/unit_test.hpp>
#include <map>
#include <set>

#include "tests/unit/logged_seed.h"
#include "tests/unit/pcap_reader.h"

using namespace lagan;
using namespace lagan::roce;
using lagan::test::Frame;

namespace {

Frame from_hex(const std::string& text) {
    Frame bytes;
    boost::algorithm::unhex(text, std::back_inserter(bytes));
    return bytes;
}

// The packet if the frame is RoCEv2 (datagrams to QP1 included).
bool decode_roce(const Frame& frame, Packet& packet) {
    packet.info = nullptr;
    const Decoded decoded = decode(frame.data(), static_cast<uint32_t>(frame.size()), packet);
    return decoded.result != DecodeResult::drop && packet.info != nullptr;
}

// An ACK that Linux rxe sent, from the IP header on.
const Frame kAckFromIp = from_hex(
    "45000030bea34000401168050a0900010a090002d48112b7001c00001100ffff0000001100fe193a1f0000015d3c9749");

// SEND_ONLY of "lagan" with three bytes of pad, FECN, BECN, traffic class and flow label set. The packet was
// made by Scapy 2.5 (Ether/IPv6/UDP/BTH/Raw). Scapy computes no ICRC over IPv6; this one comes from Python's
// zlib.crc32 over the eight 0xff bytes and the packet with the fields masked by hand.
const Frame kIpv6Send = from_hex(
    "52540000000152540000000286dd6b9123450020113d20010db8000000000000000000000002fd00000100020003000400050006"
    "0007"
    "d48112b7002000000430ffffd5abcdef801234566c6167616e0000005918dd23");

// Bits that routers and the network may change, as masks over the bytes from the IP header on (annex
// A17.3.3).
std::map<size_t, uint8_t> masked_bits(bool is_ipv6) {
    if (is_ipv6)
        return {{0, 0x0f}, {1, 0xff}, {2, 0xff}, {3, 0xff}, {7, 0xff}, {46, 0xff}, {47, 0xff}, {52, 0xff}};
    return {{1, 0xff}, {8, 0xff}, {10, 0xff}, {11, 0xff}, {26, 0xff}, {27, 0xff}, {32, 0xff}};
}

// Flips one bit and says whether the check still does what it should.
bool flip_is_noticed_unless_masked(Frame& frame, const Packet& packet, size_t bit) {
    const auto ip_offset = static_cast<size_t>(packet.ip - frame.data());
    const auto masked = masked_bits(packet.is_ipv6);
    const auto entry = masked.find(bit / 8);
    const auto mask = static_cast<uint8_t>(1U << (bit % 8));
    const bool may_change = entry != masked.end() && (entry->second & mask) != 0;
    uint8_t& byte = frame[ip_offset + bit / 8];
    byte ^= mask;
    const bool ok = icrc_ok(packet);
    byte ^= mask;
    return ok == may_change;
}

size_t bits_from_ip(const Packet& packet) {
    return static_cast<size_t>(packet.icrc() + kIcrcBytes - packet.ip) * 8;
}

}  // namespace

BOOST_AUTO_TEST_CASE(golden_ack) {
    const uint32_t state = icrc_header_state(kAckFromIp.data(), false, sizeof(Bth) + sizeof(Aeth));
    BOOST_TEST(icrc_matches(&kAckFromIp[44], state));
    uint8_t stored[kIcrcBytes];
    icrc_store(stored, state);
    BOOST_TEST(std::memcmp(stored, &kAckFromIp[44], sizeof stored) == 0);
}

BOOST_AUTO_TEST_CASE(the_initial_state_is_that_of_eight_ff_bytes) {
    const uint8_t ones[8] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    BOOST_TEST(crc32_raw(~0U, ones, sizeof ones) == kIcrcInitialState);
}

BOOST_AUTO_TEST_CASE(every_icrc_in_every_capture_is_right) {
    for (const std::string& name : test::kCaptures) {
        unsigned checked = 0;
        for (const Frame& frame : test::read_capture(name)) {
            Packet packet;
            if (!decode_roce(frame, packet)) continue;
            BOOST_TEST(icrc_ok(packet), name << ", RoCE packet " << checked);
            ++checked;
        }
        BOOST_TEST_MESSAGE(name << ": " << checked << " packets");
        BOOST_TEST(checked >= 50U);
    }
}

BOOST_AUTO_TEST_CASE(ipv6_vector_of_scapy_and_zlib) {
    Packet packet;
    BOOST_REQUIRE(decode_roce(kIpv6Send, packet));
    BOOST_TEST(packet.is_ipv6);
    BOOST_TEST(packet.payload_bytes == 5U);
    BOOST_TEST(icrc_ok(packet));
}

BOOST_AUTO_TEST_CASE(any_flipped_bit_is_noticed_unless_it_is_masked) {
    std::vector<Frame> frames = test::read_all_captures();
    frames.push_back(kIpv6Send);
    std::set<std::pair<uint8_t, uint32_t>> seen;  // one packet of each opcode and length
    for (Frame& frame : frames) {
        Packet packet;
        if (!decode_roce(frame, packet) || frame.size() > 400) continue;
        if (!seen.emplace(packet.opcode, packet.payload_bytes).second && !packet.is_ipv6) continue;
        for (size_t bit = 0; bit < bits_from_ip(packet); ++bit)
            BOOST_REQUIRE_MESSAGE(flip_is_noticed_unless_masked(frame, packet, bit),
                                  packet.info->name << " bit " << bit);
    }
    BOOST_TEST(seen.size() >= 10U);
}

BOOST_AUTO_TEST_CASE(flipped_bits_in_full_size_responses_are_noticed) {
    auto random = test::seeded_random();
    for (Frame& frame : test::read_capture("rxe-read-bw.pcap")) {
        Packet packet;
        if (!decode_roce(frame, packet) || frame.size() < 4000) continue;
        for (int sample = 0; sample < 100; ++sample) {
            const size_t bit = random() % bits_from_ip(packet);
            BOOST_REQUIRE_MESSAGE(flip_is_noticed_unless_masked(frame, packet, bit),
                                  packet.info->name << " bit " << bit);
        }
    }
}

// The folded and the portable computation, over every length that headers can have, with nothing behind them.
BOOST_AUTO_TEST_CASE(header_states_agree_for_every_header_length) {
    auto random = test::seeded_random();
    for (int round = 0; round < 200; ++round) {
        for (const bool is_ipv6 : {false, true}) {
            for (uint32_t transport = sizeof(Bth); transport <= kMaxTransportHeaderBytes; transport += 4) {
                Frame headers((is_ipv6 ? 48 : 28) + transport);
                for (uint8_t& byte : headers)
                    byte = static_cast<uint8_t>(random());
                Frame masked(8, 0xff);
                masked.insert(masked.end(), headers.begin(), headers.end());
                for (const auto& [offset, bits] : masked_bits(is_ipv6))
                    masked[8 + offset] |= bits;
                const uint32_t expected = crc32_raw(~0U, masked.data(), masked.size());
                BOOST_REQUIRE_EQUAL(icrc_header_state(headers.data(), is_ipv6, transport), expected);
                BOOST_REQUIRE_EQUAL(icrc_header_state_portable(headers.data(), is_ipv6, transport), expected);
            }
        }
    }
}

// What the responder does for a READ response: the header's state, moved over the payload, and the payload's
// CRC as it was kept with the page.
BOOST_AUTO_TEST_CASE(stored_payload_crcs_give_the_captured_icrcs) {
    unsigned checked = 0;
    for (const Frame& frame : test::read_capture("rxe-read-bw.pcap")) {
        Packet packet;
        if (!decode_roce(frame, packet) || packet.payload_bytes != 4096) continue;
        uint32_t page = 0;
        for (size_t block = 0; block < 4; ++block)
            page = crc32_shift(page, kCrcBlockBytes) ^
                   crc32_raw(0, packet.payload + block * kCrcBlockBytes, kCrcBlockBytes);
        const uint32_t header = icrc_header_state(packet.ip, packet.is_ipv6, packet.transport_header_bytes());
        BOOST_TEST(icrc_matches(packet.icrc(), crc32_shift(header, 4096) ^ page));
        ++checked;
    }
    BOOST_TEST(checked > 100U);
}
