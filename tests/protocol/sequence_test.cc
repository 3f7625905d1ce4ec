// SPDX-License-Identifier: BSD-3-Clause
// PSNs, MSNs, acknowledgements, duplicates of SEND and WRITE, RNR NAKs, and what is dropped without a word.
#define BOOST_TEST_MODULE sequence_protocol
#include <boost/endian/conversion.hpp>

#include "datapath/capsule.h"
#include "tests/protocol/peer_fixture.h"

using namespace lagan;
using namespace lagan::test;
using roce::Opcode;
using roce::psn_add;

static Frame region_info() {
    capsule::Header header{};
    header.version = capsule::kVersion;
    header.opcode = static_cast<uint8_t>(capsule::Opcode::region_info);
    Frame frame(sizeof header);
    std::memcpy(frame.data(), &header, sizeof header);
    return frame;
}

BOOST_AUTO_TEST_CASE(write_is_acknowledged_with_its_psn_and_the_message_count) {
    PeerFixture f({.psn = 0xfffffe});
    for (uint32_t i = 0; i < 4; i++)  // across the wrap
        f.expect_ack(f.peer.exchange(f.peer.write_only(i * 4096, pattern(64, 1))), psn_add(0xfffffe, i),
                     i + 1);
}

BOOST_AUTO_TEST_CASE(no_acknowledgement_that_was_not_asked_for) {
    PeerFixture f;
    for (int i = 0; i < 3; i++) {
        Request request = f.peer.write_only(0, pattern(64, 1));
        request.ack_request = false;
        f.expect_silence(f.peer.exchange(request));
    }
    f.expect_ack(f.peer.exchange(f.peer.write_only(0, pattern(64, 1))), 3, 4);  // one for all four
}

BOOST_AUTO_TEST_CASE(ahead_of_sequence_one_nak_then_silence_until_the_gap_is_filled) {
    PeerFixture f({.psn = 0xffffff});
    const Request lost = f.peer.write_only(0, pattern(4096, 1));
    const Request next = f.peer.write_only(4096, pattern(4096, 2));
    const Request third = f.peer.write_only(8192, pattern(4096, 3));
    f.expect(f.peer.exchange(next), kSequenceNak, 0xffffff, 0);
    f.expect_silence(f.peer.exchange(third));
    f.expect_silence(f.peer.exchange(next));
    BOOST_TEST(f.region.present == 0U);
    BOOST_TEST(f.counters().sequence_naks == 1U);
    BOOST_TEST(dropped(*f.link.server, DropReason::psn_ahead) == 3U);

    f.expect_ack(f.peer.exchange(lost), 0xffffff, 1);
    // The gap is mended: a new one is worth a NAK again.
    f.expect(f.peer.exchange(third), kSequenceNak, 0, 1);
    f.expect_ack(f.peer.exchange(next), 0, 2);
    f.expect_ack(f.peer.exchange(third), 1, 3);
}

BOOST_AUTO_TEST_CASE(duplicates_are_answered_while_a_gap_is_open) {
    PeerFixture f;
    const Request first = f.peer.write_only(0, pattern(64, 1));
    f.expect_ack(f.peer.exchange(first), 0, 1);
    const Request read = f.peer.read(0, 64);
    f.peer.exchange(read);
    f.peer.write_only(0, pattern(64, 2));  // lost
    f.expect(f.peer.exchange(f.peer.write_only(0, pattern(64, 3))), kSequenceNak, 2, 2);
    f.expect_ack(f.peer.exchange(first), 1, 2);
    const auto again = f.peer.exchange(read);
    BOOST_REQUIRE(again.size() == 1U);
    BOOST_TEST(again[0].opcode == Opcode::rc_read_response_only);
    BOOST_TEST(again[0].payload == pattern(64, 1));
}

BOOST_AUTO_TEST_CASE(duplicate_write_is_acknowledged_and_not_executed) {
    PeerFixture f;
    const Request old = f.peer.write_only(100, pattern(500, 1));
    f.peer.exchange(old);
    f.expect_ack(f.peer.exchange(f.peer.write_only(100, pattern(500, 2))), 1, 2);
    f.expect_ack(f.peer.exchange(old), 1, 2);  // of the last one executed; the count stays
    BOOST_TEST(f.memory(100, 500) == pattern(500, 2));
    BOOST_TEST(f.counters().write_messages == 2U);
    BOOST_TEST(f.counters().duplicates == 1U);
    // Nor in the middle of a later message.
    Request middle{.opcode = Opcode::rc_write_first,
                   .psn = 2,
                   .reth = {8192, f.peer.rkey, 4096 + 100},
                   .payload = pattern(4096, 3),
                   .ack_request = false};
    f.expect_silence(f.peer.exchange(middle));
    f.expect_ack(f.peer.exchange(old), 2, 2);
    f.expect_ack(f.peer.exchange({.opcode = Opcode::rc_write_last, .psn = 3, .payload = pattern(100, 4)}), 3,
                 3);
    BOOST_TEST(f.memory(8192, 4096) == pattern(4096, 3));
    BOOST_TEST(f.memory(8192 + 4096, 100) == pattern(100, 4));
}

BOOST_AUTO_TEST_CASE(duplicate_send_is_acknowledged_and_not_executed) {
    PeerFixture f;
    const Request message = f.peer.message(region_info());
    const auto answers = f.peer.exchange(message);
    BOOST_REQUIRE_EQUAL(answers.size(), 2U);  // the reply and the ACK
    BOOST_TEST(f.counters().capsules == 1U);
    f.expect_ack(f.peer.exchange(message), 0, 1);
    BOOST_TEST(f.counters().capsules == 1U);
}

BOOST_AUTO_TEST_CASE(a_message_counts_once_however_many_packets_it_has) {
    PeerFixture f({.mtu_bytes = 256});
    const Bytes bytes = pattern(700, 5);
    const auto part = [&](size_t from, size_t to) {
        return Frame(bytes.begin() + long(from), bytes.begin() + long(to));
    };
    f.expect_ack(f.peer.exchange({.opcode = Opcode::rc_write_first,
                                  .psn = 0,
                                  .reth = {3900, f.peer.rkey, 700},
                                  .payload = part(0, 256)}),
                 0, 0);
    f.expect_ack(f.peer.exchange({.opcode = Opcode::rc_write_middle, .psn = 1, .payload = part(256, 512)}), 1,
                 0);
    f.expect_ack(f.peer.exchange({.opcode = Opcode::rc_write_last, .psn = 2, .payload = part(512, 700)}), 2,
                 1);
    BOOST_TEST(f.memory(3900, 700) == bytes);
    // READ: at execution, in every response, and not again for a duplicate.
    f.peer.psn = 3;
    const Request read = f.peer.read(3900, 700);
    for (int i = 0; i < 2; i++) {
        const auto answers = f.peer.exchange(read);
        BOOST_REQUIRE_EQUAL(answers.size(), 3U);
        BOOST_TEST(answers[0].msn == 2U);
        BOOST_TEST(answers[2].msn == 2U);
    }
    f.expect_ack(f.peer.exchange(f.peer.write_only(0, {1})), 6, 3);
}

BOOST_AUTO_TEST_CASE(zero_bytes_written_are_a_message_too) {
    PeerFixture f;
    Request nothing = f.peer.write_only(~0ULL, {});
    nothing.reth.rkey = 12345;  // C9-88: not looked at
    f.expect_ack(f.peer.exchange(nothing), 0, 1);
    BOOST_TEST(f.region.present == 0U);
    BOOST_TEST(f.region.active().count() == 0U);
}

BOOST_AUTO_TEST_CASE(immediates_change_nothing) {
    PeerFixture f({.mtu_bytes = 1024});
    f.expect_ack(f.peer.exchange({.opcode = Opcode::rc_write_only_imm,
                                  .psn = 0,
                                  .reth = {10, f.peer.rkey, 77},
                                  .payload = pattern(77, 1)}),
                 0, 1);
    f.expect_silence(f.peer.exchange({.opcode = Opcode::rc_write_first,
                                      .psn = 1,
                                      .reth = {4096, f.peer.rkey, 1025},
                                      .payload = pattern(1024, 2),
                                      .ack_request = false}));
    f.expect_ack(f.peer.exchange({.opcode = Opcode::rc_write_last_imm, .psn = 2, .payload = {9}}), 2, 2);
    BOOST_TEST(f.memory(10, 77) == pattern(77, 1));
    BOOST_TEST(f.memory(4096, 1024) == pattern(1024, 2));
    BOOST_TEST(f.memory(5120, 1) == Bytes{9});
}

// A server whose replies nobody acknowledges runs out of slots: 8 replies under way, 8 capsules waiting.
static uint32_t fill_message_slots(PeerFixture& f) {
    uint32_t accepted = 0;
    for (;; accepted++) {
        const auto answers = f.peer.exchange(f.peer.message(region_info()));
        for (const Answer& answer : answers)
            if (answer.opcode == Opcode::rc_ack && roce::is_rnr_nak(answer.syndrome)) {
                BOOST_TEST(answer.psn == accepted);
                BOOST_TEST(answer.msn == accepted);
                return accepted;
            }
        BOOST_REQUIRE(accepted < 64);
    }
}

BOOST_AUTO_TEST_CASE(no_room_for_a_message_is_an_rnr_nak_of_its_psn) {
    PeerFixture f;
    const uint32_t accepted = fill_message_slots(f);
    BOOST_TEST(accepted == 2 * kMessageSlots);
    BOOST_TEST(f.counters().rnr_naks == 1U);
    // What follows the refused one is ahead of sequence, and no NAK 0x60 may cut the wait short.
    f.expect_silence(f.peer.exchange(f.peer.write_only(0, {1})));
    f.expect_silence(f.peer.exchange(f.peer.message(region_info())));
    BOOST_TEST(f.region.present == 0U);
    // Asked too early: the same again.
    const Request again{.opcode = Opcode::rc_send_only, .psn = accepted, .payload = region_info()};
    f.expect(f.peer.exchange(again), static_cast<uint8_t>(roce::kRnrNak | f.qp().rnr_timer), accepted,
             accepted);
    // A reply acknowledged makes room for one.
    f.peer.acknowledge(0);
    f.peer.answers();
    const auto answers = f.peer.exchange(again);
    BOOST_REQUIRE(answers.size() == 1U);
    f.expect_ack(answers, accepted, accepted + 1);
    BOOST_TEST(f.counters().capsules == 9U);
}

BOOST_AUTO_TEST_CASE(acknowledged_replies_make_room_for_all) {
    PeerFixture f;
    const uint32_t accepted = fill_message_slots(f);
    f.peer.acknowledge(7);
    f.peer.answers();
    f.peer.acknowledge(15);
    f.peer.answers();
    BOOST_TEST(f.counters().capsules == accepted);
    BOOST_TEST(f.qp().requester.in_flight() == false);
}

BOOST_AUTO_TEST_CASE(dropped_without_a_word_and_counted) {
    using Layout = Request::Layout;
    struct Case {
        DropReason reason;
        Request::Edit change, damage;
    };
    const std::vector<Case> cases = {
        {DropReason::icrc, {}, [](Frame& f, const Layout&) { f.back() ^= 1; }},
        {DropReason::icrc, {}, [](Frame& f, const Layout& at) { f[at.payload] ^= 1; }},
        {DropReason::icrc, {}, [](Frame& f, const Layout& at) { f[at.bth + 9] ^= 0x40; }},
        {DropReason::bth_pkey, [](Frame& f, const Layout& at) { f[at.bth + 3] = 0; }, {}},
        {DropReason::bth_version, [](Frame& f, const Layout& at) { f[at.bth + 1] |= 1; }, {}},
        {DropReason::bth_opcode, [](Frame& f, const Layout& at) { f[at.bth] = 0x15; }, {}},
        {DropReason::unknown_qpn, [](Frame& f, const Layout& at) { f[at.bth + 6] ^= 0x80; }, {}},
        {DropReason::address_pair,
         [](Frame& f, const Layout& at) { f[at.ip + 15] ^= 1; },
         {}},  // from elsewhere
        {DropReason::address_pair,
         [](Frame& f, const Layout& at) { f[at.ip + 19] ^= 1; },
         {}},  // to elsewhere
        {DropReason::ip_header, {}, [](Frame& f, const Layout& at) { f[at.ip + 11] ^= 1; }},
        {DropReason::ip_fragment, [](Frame& f, const Layout& at) { f[at.ip + 6] |= 0x20; }, {}},
        {DropReason::not_rocev2, [](Frame& f, const Layout& at) { f[at.udp + 3] ^= 1; }, {}},
        {DropReason::udp_length, [](Frame& f, const Layout& at) { f[at.udp + 5] ^= 4; }, {}},
        {DropReason::truncated, {}, [](Frame& f, const Layout&) { f.resize(30); }},
        {DropReason::ip_length, {}, [](Frame& f, const Layout&) { f.erase(f.end() - 8, f.end()); }},
    };
    PeerFixture f;
    Request good = f.peer.write_only(0, pattern(64, 1));
    for (const Case& c : cases) {
        Request bad = good;
        bad.change = c.change;
        bad.damage = c.damage;
        const uint64_t before = dropped(*f.link.server, c.reason);
        f.expect_silence(f.peer.exchange(bad));
        BOOST_TEST(dropped(*f.link.server, c.reason) == before + 1, drop_reason_name(c.reason));
    }
    BOOST_TEST(f.region.present == 0U);
    BOOST_TEST(!f.qp().has_received);
    f.expect_ack(f.peer.exchange(good), 0, 1);
    BOOST_TEST(f.qp().has_received);
}

BOOST_AUTO_TEST_CASE(what_routers_change_is_no_error) {
    PeerFixture f;
    Request request = f.peer.write_only(0, pattern(64, 1));
    request.damage = [](Frame& frame, const Request::Layout& at) {
        frame[at.bth + 4] = 0xc0;  // FECN, BECN
        boost::endian::store_big_u16(&frame[at.udp + 6], 0x1234);
    };
    f.expect_ack(f.peer.exchange(request), 0, 1);
    Request padded = f.peer.write_only(0, pattern(1, 1));
    padded.damage = [](Frame& frame, const Request::Layout&) {
        frame.resize(frame.size() + 6, 0xaa);
    };  // Ethernet padding
    f.expect_ack(f.peer.exchange(padded), 1, 2);
}

BOOST_AUTO_TEST_CASE(responses_that_nobody_asked_for) {
    PeerFixture f;
    for (Opcode opcode : {Opcode::rc_ack, Opcode::rc_read_response_only, Opcode::rc_read_response_middle,
                          Opcode::rc_atomic_ack}) {
        for (uint32_t psn : {0U, 1U, 0x7fffffU, 0x800000U, 0xffffffU})
            f.expect_silence(f.peer.exchange({.opcode = opcode, .psn = psn}));
    }
    BOOST_TEST(dropped(*f.link.server, DropReason::response_unexpected) +
                   dropped(*f.link.server, DropReason::response_duplicate) ==
               20U);
    f.expect_ack(f.peer.exchange(f.peer.write_only(0, {1})), 0, 1);
}

BOOST_AUTO_TEST_CASE(congestion_notifications_change_nothing) {
    PeerFixture f;
    f.expect_silence(f.peer.exchange({.opcode = Opcode::cnp, .psn = 0, .payload = Frame(16)}));
    f.expect_ack(f.peer.exchange(f.peer.write_only(0, {1})), 0, 1);
}
