// SPDX-License-Identifier: BSD-3-Clause
// READ: opcodes and PSNs of responses, order, duplicates, errors half-way.
#define BOOST_TEST_MODULE read_protocol
#include <boost/test/data/test_case.hpp>

#include "tests/protocol/peer_fixture.h"

using namespace lagan;
using namespace lagan::test;
using roce::Opcode;
using roce::psn_add;
namespace data = boost::unit_test::data;

// The responses of one READ from `psn` on, FIRST or ONLY at the start; returns their bytes.
static Bytes check_responses(const std::vector<Answer>& answers, size_t from, size_t count, uint32_t psn,
                             uint32_t msn) {
    Bytes bytes;
    BOOST_REQUIRE(answers.size() >= from + count);
    for (size_t i = 0; i < count; i++) {
        const Answer& answer = answers[from + i];
        const bool first = i == 0, last = i + 1 == count;
        const Opcode expected =
            first ? (last ? Opcode::rc_read_response_only : Opcode::rc_read_response_first)
                  : (last ? Opcode::rc_read_response_last : Opcode::rc_read_response_middle);
        BOOST_TEST(answer.opcode == expected);
        BOOST_TEST(answer.psn == psn_add(psn, static_cast<uint32_t>(i)));
        if (first || last) {
            BOOST_TEST(int(answer.syndrome) == int(roce::kAckNoCredits));
            BOOST_TEST(answer.msn == msn);
        }
        bytes.insert(bytes.end(), answer.payload.begin(), answer.payload.end());
    }
    return bytes;
}

// A region whose first bytes are known.
struct Filled : PeerFixture {
    explicit Filled(LoopbackOptions options = {}, uint32_t bytes = 64 << 10) : PeerFixture(options) {
        content = pattern(bytes, 9);
        const uint32_t mtu = link.options.mtu_bytes;
        for (uint32_t at = 0; at < bytes; at += mtu) {
            Request request =
                peer.write_only(at, {content.begin() + at, content.begin() + std::min(bytes, at + mtu)});
            request.ack_request = false;
            peer.exchange(request);
        }
        messages = counters().write_messages;
    }
    Bytes part(uint64_t from, uint64_t bytes) const {
        return {content.begin() + long(from), content.begin() + long(from + bytes)};
    }
    Bytes content;
    uint64_t messages;
};

BOOST_DATA_TEST_CASE(a_read_takes_as_many_psns_as_it_has_responses,
                     data::make({1U, 255U, 256U, 257U, 512U, 513U, 5000U}) * data::make({false, true}), bytes,
                     linear) {
    Filled f({.mtu_bytes = 256, .server_linear = linear, .psn = 0xfffeff});
    const uint32_t psn = f.peer.psn;
    const auto answers = f.peer.exchange(f.peer.read(4000, bytes));
    const uint32_t count = (bytes + 255) / 256;
    BOOST_REQUIRE_EQUAL(answers.size(), count);
    BOOST_TEST(check_responses(answers, 0, count, psn, uint32_t(f.messages) + 1) == f.part(4000, bytes));
    f.expect_ack(f.peer.exchange(f.peer.write_only(0, {1})), psn_add(psn, count), uint32_t(f.messages) + 2);
}

BOOST_AUTO_TEST_CASE(zero_bytes_read_are_one_response_whatever_the_rkey) {
    PeerFixture f;
    Request nothing = f.peer.read(~0ULL - 5, 0);
    nothing.reth.rkey = 99;
    const auto answers = f.peer.exchange(nothing);
    BOOST_REQUIRE_EQUAL(answers.size(), 1U);
    BOOST_TEST(check_responses(answers, 0, 1, 0, 1).empty());
    BOOST_TEST(check_responses(f.peer.exchange(nothing), 0, 1, 0, 1).empty());  // the duplicate too
}

BOOST_AUTO_TEST_CASE(responses_leave_in_psn_order_and_acknowledgements_behind_them) {
    Filled f({.mtu_bytes = 256});
    const uint32_t psn = f.peer.psn;
    const auto msn = uint32_t(f.messages);
    // All before the server gets to poll.
    f.peer.send(f.peer.read(0, 10'000));
    f.peer.send(f.peer.write_only(40'000, pattern(100, 1)));
    f.peer.send(f.peer.read(20'000, 300));
    f.peer.send(f.peer.write_only(40'100, pattern(100, 2)));
    const auto answers = f.peer.answers();
    BOOST_TEST(check_responses(answers, 0, 40, psn, msn + 1) == f.part(0, 10'000));
    // The first WRITE may be acknowledged by the response that follows it.
    const bool own_ack = answers.size() == 44;
    BOOST_REQUIRE(answers.size() == (own_ack ? 44U : 43U));
    const size_t second = own_ack ? 41 : 40;
    BOOST_TEST(check_responses(answers, second, 2, psn_add(psn, 41), msn + 3) == f.part(20'000, 300));
    const Answer& ack = answers.back();
    BOOST_TEST(ack.opcode == Opcode::rc_ack);
    BOOST_TEST(ack.psn == psn_add(psn, 43));
    BOOST_TEST(ack.msn == msn + 4);
}

BOOST_AUTO_TEST_CASE(a_sequence_nak_waits_behind_the_responses) {
    Filled f({.mtu_bytes = 256});
    const uint32_t psn = f.peer.psn;
    f.peer.send(f.peer.read(0, 10'000));
    f.peer.write_only(0, {1});  // lost
    f.peer.send(f.peer.write_only(0, {2}));
    const auto answers = f.peer.answers();
    BOOST_REQUIRE_EQUAL(answers.size(), 41U);
    check_responses(answers, 0, 40, psn, uint32_t(f.messages) + 1);
    BOOST_TEST(int(answers[40].syndrome) == int(kSequenceNak));
    BOOST_TEST(answers[40].psn == psn_add(psn, 40));
}

BOOST_AUTO_TEST_CASE(a_sequence_nak_that_still_waits_is_forgotten_when_the_gap_is_filled) {
    Filled f({.mtu_bytes = 256});
    const uint32_t psn = f.peer.psn;
    f.peer.send(f.peer.read(0, 10'000));
    const Request lost = f.peer.write_only(0, {1});
    const Request next = f.peer.write_only(1, {2});
    f.peer.send(next);
    f.peer.send(lost);
    f.peer.send(next);
    const auto answers = f.peer.answers();
    BOOST_REQUIRE_EQUAL(answers.size(), 41U);
    BOOST_TEST(int(answers[40].syndrome) == int(roce::kAckNoCredits));
    BOOST_TEST(answers[40].psn == psn_add(psn, 41));
}

BOOST_AUTO_TEST_CASE(a_duplicate_read_is_executed_again_from_any_of_its_packets) {
    Filled f({.mtu_bytes = 256});
    const uint32_t psn = f.peer.psn;
    const auto msn = uint32_t(f.messages) + 1;
    const Request read = f.peer.read(100, 1000);
    BOOST_TEST(check_responses(f.peer.exchange(read), 0, 4, psn, msn) == f.part(100, 1000));
    for (uint32_t from = 0; from < 4; from++) {
        Request again = read;
        again.psn = psn_add(psn, from);
        again.reth.va += 256 * from;
        again.reth.length -= 256 * from;
        const auto answers = f.peer.exchange(again);
        BOOST_REQUIRE_EQUAL(answers.size(), 4 - from);
        BOOST_TEST(check_responses(answers, 0, 4 - from, again.psn, msn) ==
                   f.part(100 + 256 * from, 1000 - 256 * from));
    }
    BOOST_TEST(f.counters().reads == 1U);
    BOOST_TEST(f.counters().duplicates == 4U);
}

BOOST_AUTO_TEST_CASE(a_duplicate_read_sees_the_memory_as_it_is_now) {
    Filled f;
    const Request read = f.peer.read(0, 4096);
    f.peer.exchange(read);
    f.peer.exchange(f.peer.write_only(0, pattern(4096, 77)));
    const auto answers = f.peer.exchange(read);
    BOOST_REQUIRE_EQUAL(answers.size(), 1U);
    BOOST_TEST(answers[0].payload == pattern(4096, 77));
}

BOOST_AUTO_TEST_CASE(all_reads_again_when_the_requester_goes_back) {
    Filled f({.mtu_bytes = 256});
    const uint32_t psn = f.peer.psn;
    const auto msn = uint32_t(f.messages);
    std::vector<Request> reads;
    for (uint32_t i = 0; i < 5; i++)
        reads.push_back(f.peer.read(i * 1000, 600));
    for (const Request& read : reads)
        f.peer.send(read);
    f.peer.answers();
    for (const Request& read : reads)
        f.peer.send(read);
    const auto answers = f.peer.answers();
    BOOST_REQUIRE_EQUAL(answers.size(), 15U);
    for (uint32_t i = 0; i < 5; i++)
        BOOST_TEST(check_responses(answers, i * 3, 3, psn_add(psn, i * 3), msn + 1 + i) ==
                   f.part(i * 1000, 600));
}

struct BadDuplicate {
    uint32_t psn_offset, va_offset, length;
    bool other_rkey;
};
static std::ostream& operator<<(std::ostream& out, const BadDuplicate& bad) {
    return out << bad.psn_offset << ' ' << bad.va_offset << ' ' << bad.length << ' ' << bad.other_rkey;
}
static const BadDuplicate kBadDuplicates[] = {
    {0, 0, 1001, false},   // longer
    {0, 256, 744, false},  // other bytes
    {1, 0, 1000, false},   // does not begin where that packet did
    {1, 256, 745, false},  // ends behind
    {0, 0, 0, false},      // nothing of something
    {0, 0, 1000, true},    // another R_Key
};
BOOST_DATA_TEST_CASE(a_duplicate_read_of_other_bytes_is_refused, data::make(kBadDuplicates), bad) {
    Filled f({.mtu_bytes = 256});
    const Request read = f.peer.read(0, 1000);
    f.peer.exchange(read);
    Request again = read;
    again.psn = psn_add(read.psn, bad.psn_offset);
    again.reth = {bad.va_offset, bad.other_rkey ? f.region.dirty_rkey : f.peer.rkey, bad.length};
    f.expect(f.peer.exchange(again), kInvalid, again.psn, uint32_t(f.messages) + 1);
    BOOST_TEST(refused(*f.link.server, Refusal::duplicate_read) == 1U);
}

BOOST_AUTO_TEST_CASE(a_duplicate_of_a_read_long_gone_is_dropped) {
    Filled f;
    const Request old = f.peer.read(0, 64);
    f.peer.exchange(old);
    for (uint32_t i = 0; i < kMaxReadDepth; i++)
        f.peer.exchange(f.peer.read(64, 64));
    f.expect_silence(f.peer.exchange(old));
    BOOST_TEST(dropped(*f.link.server, DropReason::psn_invalid) == 1U);
    // One whose PSN was a WRITE's, too.
    Request never = old;
    never.psn = 0;
    f.expect_silence(f.peer.exchange(never));
    BOOST_TEST(dropped(*f.link.server, DropReason::psn_invalid) == 2U);
    BOOST_TEST(f.peer.exchange(f.peer.read(0, 64)).size() == 1U);
}

// A stray duplicate (the network repeats packets) makes old READs be answered again; a requester that has got
// all those answers may meanwhile ask for as many new ones as were negotiated.
BOOST_AUTO_TEST_CASE(a_stray_duplicate_does_not_count_against_the_read_depth) {
    Filled f({.mtu_bytes = 256, .responder_resources = 4});
    std::vector<Request> old;
    for (uint32_t i = 0; i < 4; i++)
        old.push_back(f.peer.read(i * 5000, 5000));
    for (const Request& read : old)
        f.peer.send(read);
    BOOST_REQUIRE_EQUAL(f.peer.answers().size(), 80U);

    const auto msn = uint32_t(f.messages);
    std::vector<Request> fresh;
    f.peer.send(old[0]);
    for (uint32_t i = 0; i < 4; i++) {
        fresh.push_back(f.peer.read(i * 1000, 1000));
        f.peer.send(fresh.back());
    }
    const auto answers = f.peer.answers();
    BOOST_TEST(refused(*f.link.server, Refusal::read_depth) == 0U);
    BOOST_REQUIRE(answers.size() >= 16U);
    for (uint32_t i = 0; i < 4; i++)
        BOOST_TEST(check_responses(answers, answers.size() - 16 + i * 4, 4, fresh[i].psn, msn + 5 + i) ==
                   f.part(i * 1000, 1000));
}

// Whoever asks again from the middle has all that comes before, and expects a FIRST (Linux ends the
// connection otherwise).
BOOST_AUTO_TEST_CASE(a_repeated_read_that_has_not_been_answered_so_far_starts_anew) {
    Filled f({.mtu_bytes = 256});
    const Request read = f.peer.read(0, 60'000);
    f.peer.send(read);
    const auto begun = f.peer.answers(1);
    BOOST_REQUIRE(begun.size() > 0U);
    BOOST_REQUIRE(begun.size() < 100U);
    Request again = read;
    again.psn = psn_add(read.psn, 150);
    again.reth.va += 150 * 256;
    again.reth.length -= 150 * 256;
    f.peer.send(again);
    const auto rest = f.peer.answers();
    const auto start =
        std::find_if(rest.begin(), rest.end(), [&](const Answer& a) { return a.psn == again.psn; });
    BOOST_REQUIRE(start != rest.end());
    BOOST_TEST(check_responses({start, rest.end()}, 0, 235 - 150, again.psn, uint32_t(f.messages) + 1) ==
               f.part(150 * 256, 60'000 - 150 * 256));
}

BOOST_AUTO_TEST_CASE(more_reads_than_negotiated_are_refused) {
    Filled f({.mtu_bytes = 256, .responder_resources = 4});
    const uint32_t psn = f.peer.psn;
    const auto msn = uint32_t(f.messages);
    for (uint32_t i = 0; i < 5; i++)
        f.peer.send(f.peer.read(0, 5000));
    const auto answers = f.peer.answers();
    BOOST_REQUIRE_EQUAL(answers.size(), 81U);  // the four are answered, then comes the NAK
    for (uint32_t i = 0; i < 4; i++)
        check_responses(answers, i * 20, 20, psn_add(psn, i * 20), msn + 1 + i);
    BOOST_TEST(int(answers[80].syndrome) == int(kInvalid));
    BOOST_TEST(answers[80].psn == psn_add(psn, 80));
    BOOST_TEST(answers[80].msn == msn + 4);
    BOOST_TEST(refused(*f.link.server, Refusal::read_depth) == 1U);
}

BOOST_AUTO_TEST_CASE(as_many_reads_as_negotiated_one_after_the_other) {
    Filled f({.mtu_bytes = 256, .responder_resources = 1});
    for (uint32_t i = 0; i < 300; i++)
        BOOST_REQUIRE_EQUAL(f.peer.exchange(f.peer.read(i, 600)).size(), 3U);
}

// The region goes while a READ is being answered: the NAK has the PSN of the response that could not be
// given.
BOOST_AUTO_TEST_CASE(an_error_half_way_is_a_nak_of_the_next_response) {
    Filled f({.mtu_bytes = 256});
    const Request read = f.peer.read(0, 60'000);
    f.peer.send(read);
    f.peer.send(f.peer.read(0, 100));  // one behind it gets no answer
    const auto begun = f.peer.answers(2);
    BOOST_REQUIRE(begun.size() > 0U && begun.size() < 200U);
    f.link.rkeys->remove(f.peer.rkey);
    const auto rest = f.peer.answers();
    const auto msn = uint32_t(f.messages) + 2;
    f.expect(rest, kAccess, psn_add(read.psn, static_cast<uint32_t>(begun.size())), msn);

    // Lost, the NAK is given again for the same PSN, and for no other.
    Request again = read;
    again.psn = rest[0].psn;
    again.reth.va += 256 * begun.size();
    again.reth.length -= static_cast<uint32_t>(256 * begun.size());
    f.expect(f.peer.exchange(again), kAccess, again.psn, msn);
    f.expect_silence(f.peer.exchange(f.peer.read(0, 100)));
}

BOOST_AUTO_TEST_CASE(a_poisoned_page_is_refused_until_it_is_stored_again) {
    Filled f;
    auto& entry = f.region.page_table[2];
    entry.store(entry.load() | memory::kPtePoisoned);
    const auto answers = f.peer.exchange(f.peer.read(4096, 3 * 4096));
    BOOST_REQUIRE_EQUAL(answers.size(), 2U);
    BOOST_TEST(answers[0].opcode == Opcode::rc_read_response_first);
    BOOST_TEST(int(answers[1].syndrome) == int(kOperation));
    BOOST_TEST(refused(*f.link.server, Refusal::poisoned_page) == 1U);

    RawPeer other(f.link, f.region);
    BOOST_TEST(int(other.exchange(other.write_only(2 * 4096, pattern(100, 1))).at(0).syndrome) ==
               int(kOperation));
    RawPeer third(f.link, f.region);
    f.expect_ack(third.exchange(third.write_only(2 * 4096, pattern(4096, 1))), 0, 1);
    BOOST_TEST(third.exchange(third.read(2 * 4096, 4096)).at(0).payload == pattern(4096, 1));
}
