// SPDX-License-Identifier: BSD-3-Clause
// Requests for pages whose content is elsewhere and not here yet: READs wait, partial stores and atomics are
// told to come again, whole stores and frees do not need it; and nobody else waits.
#define BOOST_TEST_MODULE pending_protocol
#include <boost/test/data/test_case.hpp>

#include "datapath/capsule.h"
#include "tests/protocol/peer_fixture.h"
#include "tests/protocol/rebuilder.h"

using namespace lagan;
using namespace lagan::test;
using memory::kPageBytes;
using memory::kPtePending;
using roce::Opcode;
namespace data = boost::unit_test::data;

namespace {

constexpr uint64_t kPages = 64;
constexpr uint8_t kNotReady = 0x20 | 8;  // RNR NAK, 0.16 ms

struct Fixture {
    explicit Fixture(LoopbackOptions options = {})
        : link((options.ack_timeout = 0, options)),
          content(pattern(kPages * kPageBytes, 3)),
          source(link, content),
          region(source.region),
          peer(link, region) {}
    Bytes there(uint64_t va, size_t bytes) const {
        return {content.begin() + static_cast<ptrdiff_t>(va),
                content.begin() + static_cast<ptrdiff_t>(va + bytes)};
    }
    memory::Pte entry(uint64_t page) const { return region.page_table[page].load(); }
    Bytes here(uint64_t va, size_t bytes) {
        const Bytes all = memory_of(region, *link.frames);
        return {all.begin() + static_cast<ptrdiff_t>(va), all.begin() + static_cast<ptrdiff_t>(va + bytes)};
    }
    void expect(const std::vector<Answer>& answers, uint8_t syndrome, uint32_t psn) const {
        BOOST_REQUIRE_EQUAL(answers.size(), 1U);
        BOOST_TEST(answers[0].opcode == Opcode::rc_ack);
        BOOST_TEST(int(answers[0].syndrome) == int(syndrome));
        BOOST_TEST(answers[0].psn == psn);
    }
    void expect_wanted(const std::vector<uint64_t>& pages) {
        BOOST_TEST(source.wanted() == pages, boost::test_tools::per_element());
    }
    // The bytes of READ responses with these opcodes, from `psn` on.
    Bytes expect_read(const std::vector<Answer>& answers, const std::vector<Opcode>& opcodes,
                      uint32_t psn) const {
        Bytes bytes;
        BOOST_REQUIRE_EQUAL(answers.size(), opcodes.size());
        for (size_t i = 0; i < answers.size(); i++) {
            BOOST_TEST(answers[i].opcode == opcodes[i]);
            BOOST_TEST(answers[i].psn == roce::psn_add(psn, static_cast<uint32_t>(i)));
            bytes.insert(bytes.end(), answers[i].payload.begin(), answers[i].payload.end());
        }
        return bytes;
    }
    Frame free_capsule(uint32_t first, uint32_t count) const {
        struct {
            capsule::Header header;
            capsule::PageRange range;
        } request{};
        request.header.version = capsule::kVersion;
        request.header.opcode = static_cast<uint8_t>(capsule::Opcode::free_pages);
        request.header.count = 1;
        request.range = {.first_page = first, .page_count = count};
        const auto* bytes = reinterpret_cast<const uint8_t*>(&request);
        return {bytes, bytes + sizeof request};
    }

    Loopback link;
    Bytes content;
    Rebuilder source;
    memory::Region& region;
    RawPeer peer;
};

}  // namespace

BOOST_AUTO_TEST_CASE(a_read_waits_until_the_page_is_there) {
    Fixture f;
    const Request read = f.peer.read(3 * kPageBytes + 100, 1000);
    BOOST_TEST(f.peer.exchange(read).empty());
    f.expect_wanted({3});
    BOOST_TEST(f.peer.answers().empty());
    f.expect_wanted({});  // once is enough
    f.source.settle(3);
    BOOST_TEST((f.expect_read(f.peer.answers(), {Opcode::rc_read_response_only}, read.psn) ==
                f.there(3 * kPageBytes + 100, 1000)));
    BOOST_TEST(f.peer.answers().empty());
}

BOOST_AUTO_TEST_CASE(a_long_read_stops_at_the_page_and_goes_on_there) {
    Fixture f;
    f.source.settle(0);
    f.source.settle(1);
    f.source.settle(3);
    const Request read = f.peer.read(0, 6 * kPageBytes);
    Bytes got = f.expect_read(f.peer.exchange(read),
                              {Opcode::rc_read_response_first, Opcode::rc_read_response_middle}, read.psn);
    f.expect_wanted({2, 4, 5});  // what it needs next is asked for together
    f.source.settle(2);
    Bytes more = f.expect_read(
        f.peer.answers(), {Opcode::rc_read_response_middle, Opcode::rc_read_response_middle}, read.psn + 2);
    got.insert(got.end(), more.begin(), more.end());
    f.source.settle(5);
    BOOST_TEST(f.peer.answers().empty());
    f.source.settle(4);
    more = f.expect_read(f.peer.answers(), {Opcode::rc_read_response_middle, Opcode::rc_read_response_last},
                         read.psn + 4);
    got.insert(got.end(), more.begin(), more.end());
    BOOST_TEST((got == f.there(0, 6 * kPageBytes)));
}

BOOST_AUTO_TEST_CASE(a_response_across_two_pages_needs_both) {
    for (const uint64_t first : {0ULL, 1ULL}) {
        Fixture f;
        f.source.settle(first);
        const Request read = f.peer.read(kPageBytes - 50, 100);
        BOOST_TEST(f.peer.exchange(read).empty());
        f.expect_wanted({1 - first});
        f.source.settle(1 - first);
        BOOST_TEST((f.expect_read(f.peer.answers(), {Opcode::rc_read_response_only}, read.psn) ==
                    f.there(kPageBytes - 50, 100)));
    }
}

BOOST_AUTO_TEST_CASE(what_comes_behind_a_waiting_read_is_answered_behind_it) {
    Fixture f;
    const Request read = f.peer.read(0, 64);
    BOOST_TEST(f.peer.exchange(read).empty());
    const Request write = f.peer.write_only(kPageBytes, pattern(kPageBytes, 9));
    const Request second = f.peer.read(kPageBytes, 64);
    BOOST_TEST(f.peer.exchange(write).empty());
    BOOST_TEST(f.peer.exchange(second).empty());
    BOOST_TEST((f.here(kPageBytes, kPageBytes) == pattern(kPageBytes, 9)));  // it has been carried out
    // A capsule behind it waits too.
    const Request free = f.peer.message(f.free_capsule(1, 1));
    BOOST_TEST(f.peer.exchange(free).empty());
    BOOST_TEST(f.entry(1) != memory::kAbsent);
    f.source.settle(0);
    const auto answers = f.peer.answers();
    BOOST_REQUIRE_EQUAL(answers.size(), 4U);
    BOOST_TEST((answers[0].payload == f.there(0, 64)));
    BOOST_TEST(answers[1].psn == second.psn);
    BOOST_TEST((answers[1].payload == Frame(pattern(64, 9))));
    BOOST_TEST(f.entry(1) == memory::kAbsent);
}

BOOST_AUTO_TEST_CASE(capsules_before_a_waiting_read_go_on) {
    Fixture f;
    const Request free = f.peer.message(f.free_capsule(0, 60));
    f.peer.send(free);
    f.peer.send(f.peer.read(61 * kPageBytes, 64));
    bool replied = false;
    for (const Answer& answer : f.peer.answers())
        replied |= answer.opcode == Opcode::rc_send_only;
    BOOST_TEST(replied);
    BOOST_TEST(f.region.pending.load() == kPages - 60);
}

BOOST_AUTO_TEST_CASE(nobody_else_waits) {
    constexpr size_t kWaiting = 100;
    Fixture f;
    std::vector<std::unique_ptr<RawPeer>> waiting;
    std::vector<uint32_t> psns;
    for (size_t i = 0; i < kWaiting; i++) {
        waiting.push_back(std::make_unique<RawPeer>(f.link, f.region));
        const Request read = waiting.back()->read((i % 60) * kPageBytes, 200);
        BOOST_TEST(waiting.back()->exchange(read).empty());
    }
    BOOST_TEST(f.link.server->parked.size() == kWaiting);
    // Waiting is no work, and takes a bounded part of each turn: the engine may go to sleep.
    for (int i = 0; i < 100; i++) {
        BOOST_TEST(poll_once(*f.link.server) == 0U);
        BOOST_TEST(f.link.server->active.size() <= 16U);
    }
    // One who needs nothing from elsewhere has an answer within one iteration.
    const Request write = f.peer.write_only(63 * kPageBytes, pattern(kPageBytes, 1));
    f.peer.send(write);
    f.expect(f.peer.answers(1), roce::kAckNoCredits, write.psn);
    // All get their answers.
    f.source.finish();
    size_t answers = 0;
    for (const Answer& answer : f.peer.answers())
        answers += answer.opcode == Opcode::rc_read_response_only;
    BOOST_TEST(answers == kWaiting);
    for (size_t i = 0; i < kWaiting; i++)
        f.link.poll();
    BOOST_TEST(f.link.server->parked.empty());
    BOOST_TEST(f.link.server->active.empty());
}

BOOST_AUTO_TEST_CASE(a_waiting_read_that_comes_again_is_answered_once) {
    Fixture f;
    const Request read = f.peer.read(0, 3 * kPageBytes);
    BOOST_TEST(f.peer.exchange(read).empty());
    for (int i = 0; i < 5; i++)
        BOOST_TEST(f.peer.exchange(read).empty());
    f.source.settle(0);
    BOOST_TEST(f.peer.answers().size() == 1U);
    // It waits at its second page now. Who asks from the start gets the first one again.
    Bytes got = f.expect_read(f.peer.exchange(read), {Opcode::rc_read_response_first}, read.psn);
    // Who asks from the middle has what comes before.
    Request rest = read;
    rest.psn++;
    rest.reth.va += kPageBytes;
    rest.reth.length -= kPageBytes;
    BOOST_TEST(f.peer.exchange(rest).empty());
    f.source.settle(1);
    f.source.settle(2);
    Bytes more = f.expect_read(f.peer.answers(),
                               {Opcode::rc_read_response_first, Opcode::rc_read_response_last}, rest.psn);
    got.insert(got.end(), more.begin(), more.end());
    BOOST_TEST((got == f.there(0, 3 * kPageBytes)));
}

BOOST_AUTO_TEST_CASE(a_page_that_is_damaged_there_is_refused_here) {
    Fixture f;
    const Request read = f.peer.read(0, 64);
    BOOST_TEST(f.peer.exchange(read).empty());
    f.source.settle_as(0, {.kind = memory::Settlement::Kind::damaged});
    f.expect(f.peer.answers(), kOperation, read.psn);
    RawPeer other(f.link, f.region);
    // Damage counts before absence: nothing is waited for.
    const Request both = other.read(kPageBytes / 2, kPageBytes);
    f.expect(other.exchange(both), kOperation, both.psn);
}

BOOST_AUTO_TEST_CASE(a_connection_may_end_while_it_waits) {
    Fixture f;
    RawPeer other(f.link, f.region);
    BOOST_TEST(other.exchange(other.read(0, 64)).empty());
    BOOST_TEST(f.link.server->parked.size() == 1U);
    f.link.disconnect(other.pair);
    BOOST_TEST(f.link.server->parked.empty());
    f.source.settle(0);
    f.link.settle();
    BOOST_TEST(f.link.frames_in_use() == 1U);
}

BOOST_AUTO_TEST_CASE(a_whole_page_is_stored_at_once) {
    Fixture f;
    const Request write = f.peer.write_only(5 * kPageBytes, pattern(kPageBytes, 9));
    f.expect(f.peer.exchange(write), roce::kAckNoCredits, write.psn);
    const Request zeros = f.peer.write_only(6 * kPageBytes, Frame(kPageBytes));
    f.expect(f.peer.exchange(zeros), roce::kAckNoCredits, zeros.psn);
    f.expect_wanted({});
    BOOST_TEST(f.region.pending.load() == kPages - 2);
    BOOST_TEST(f.entry(6) == memory::kAbsent);
    BOOST_TEST(f.region.active().is_marked(5));
    BOOST_TEST(f.region.active().is_marked(6));  // it may have been something else there
    BOOST_TEST(f.region.present.load() == 1U);
    for (const uint64_t page : {5ULL, 6ULL})
        BOOST_TEST(!f.source.settle(page));
    BOOST_TEST((f.here(5 * kPageBytes, kPageBytes) == pattern(kPageBytes, 9)));
    BOOST_TEST((f.here(6 * kPageBytes, kPageBytes) == Bytes(kPageBytes)));
}

BOOST_AUTO_TEST_CASE(whole_pages_of_a_long_message_too) {
    Fixture f({.mtu_bytes = 1024});
    const Bytes bytes = pattern(3 * kPageBytes, 77);
    BOOST_TEST((f.link.write(f.link.connect(f.region), f.region.data_rkey, 8 * kPageBytes, bytes.data(),
                             3 * kPageBytes) == roce::WorkStatus::success));
    f.expect_wanted({});
    BOOST_TEST((f.here(8 * kPageBytes, 3 * kPageBytes) == bytes));
    BOOST_TEST(f.region.pending.load() == kPages - 3);
}

// Whole CRC blocks take the fast path, others do not.
BOOST_DATA_TEST_CASE(a_part_of_a_page_comes_again, data::make({1024U, 100U}), bytes) {
    Fixture f;
    const uint64_t va = 2 * kPageBytes + 1024;
    const Request write = f.peer.write_only(va, pattern(bytes, 9));
    f.expect(f.peer.exchange(write), kNotReady, write.psn);
    f.expect_wanted({2});
    BOOST_TEST(f.entry(2) == kPtePending);
    BOOST_TEST(!f.region.active().is_marked(2));
    // What was sent behind it is ahead of sequence; no NAK cuts the wait short.
    const Request next = f.peer.write_only(9 * kPageBytes, pattern(kPageBytes, 1));
    BOOST_TEST(f.peer.exchange(next).empty());
    BOOST_TEST(f.entry(9) == kPtePending);
    f.expect(f.peer.exchange(write), kNotReady, write.psn);
    f.source.settle(2);
    f.expect(f.peer.exchange(write), roce::kAckNoCredits, write.psn);
    f.expect(f.peer.exchange(next), roce::kAckNoCredits, next.psn);
    BOOST_TEST((f.here(va, bytes) == pattern(bytes, 9)));
    BOOST_TEST((f.here(2 * kPageBytes, 1024) == f.there(2 * kPageBytes, 1024)));
    BOOST_TEST(
        (f.here(va + bytes, kPageBytes - 1024 - bytes) == f.there(va + bytes, kPageBytes - 1024 - bytes)));
    BOOST_TEST(f.region.active().is_marked(2));
    BOOST_TEST(f.peer.qp.responder.msn == 2U);
}

BOOST_AUTO_TEST_CASE(a_part_behind_a_waiting_read_waits_with_it) {
    Fixture f;
    f.source.settle(1);
    BOOST_TEST(f.peer.exchange(f.peer.read(0, 64)).empty());
    const Request write = f.peer.write_only(2 * kPageBytes, pattern(100, 9));
    BOOST_TEST(f.peer.exchange(write).empty());  // an answer may not overtake the READ's
    f.source.settle(0);
    const auto answers = f.peer.answers();
    BOOST_REQUIRE_EQUAL(answers.size(), 2U);
    BOOST_TEST(answers[0].opcode == Opcode::rc_read_response_only);
    BOOST_TEST(int(answers[1].syndrome) == int(kNotReady));
    BOOST_TEST(answers[1].psn == write.psn);
}

// The page that the message begins in becomes complete in its middle, the one that it ends in with its last
// packet. Each packet is one path MTU from anywhere: some reach into two pages.
BOOST_DATA_TEST_CASE(a_long_message_waits_at_its_first_and_last_page,
                     data::make({uint16_t{256}, uint16_t{1024}, uint16_t{4096}}) * data::make({1024U, 1500U}),
                     mtu, offset) {
    Fixture f({.mtu_bytes = mtu});
    const uint64_t va = 10 * kPageBytes + offset;
    const auto length = static_cast<uint32_t>(2 * kPageBytes + 700 + mtu);
    const Bytes bytes = pattern(length, 201);
    const uint64_t last_page = (va + length - 1) / kPageBytes;
    uint32_t waits = 0;
    for (uint32_t at = 0; at < length;) {
        const uint32_t part = std::min<uint32_t>(mtu, length - at);
        const bool first = at == 0, last = at + part == length;
        const Request packet{.opcode = first  ? Opcode::rc_write_first
                                       : last ? Opcode::rc_write_last
                                              : Opcode::rc_write_middle,
                             .psn = f.peer.psn,
                             .reth = {va, f.peer.rkey, length},
                             .payload = Frame(bytes.begin() + at, bytes.begin() + at + part)};
        const auto answers = f.peer.exchange(packet);
        BOOST_REQUIRE_EQUAL(answers.size(), 1U);
        if (answers[0].syndrome == kNotReady) {
            waits++;
            BOOST_TEST(f.peer.exchange(packet).at(0).syndrome == kNotReady);
            const auto wanted = f.source.wanted();
            BOOST_REQUIRE(!wanted.empty());
            for (const uint64_t page : wanted) {
                BOOST_TEST((page == 10 || page == last_page));
                BOOST_TEST(f.entry(page) == kPtePending);
                f.source.settle(page);
            }
            continue;  // the same packet again
        }
        BOOST_TEST(int(answers[0].syndrome) == int(roce::kAckNoCredits));
        f.peer.psn++;
        at += part;
    }
    BOOST_TEST(waits >= 1U);
    BOOST_TEST(waits <= 2U);
    BOOST_TEST((f.here(va, length) == bytes));
    BOOST_TEST((f.here(10 * kPageBytes, offset) == f.there(10 * kPageBytes, offset)));
    const uint64_t end = va + length, rest = (last_page + 1) * kPageBytes - end;
    BOOST_TEST((f.here(end, rest) == f.there(end, rest)));
    BOOST_TEST(f.peer.qp.responder.msn == 1U);
    BOOST_TEST(f.region.pending.load() == kPages - (last_page - 10 + 1));
}

BOOST_AUTO_TEST_CASE(an_atomic_comes_again) {
    Fixture f;
    const uint64_t va = 7 * kPageBytes + 16;
    uint64_t before;
    std::memcpy(&before, &f.content[va], sizeof before);
    const Request add = f.peer.fetch_add(va, 5);
    f.expect(f.peer.exchange(add), kNotReady, add.psn);
    f.expect_wanted({7});
    BOOST_TEST(f.entry(7) == kPtePending);
    f.source.settle(7);
    auto answers = f.peer.exchange(add);
    BOOST_REQUIRE_EQUAL(answers.size(), 1U);
    BOOST_TEST(answers[0].original == before);
    answers = f.peer.exchange(add);  // a duplicate: not carried out again
    BOOST_REQUIRE_EQUAL(answers.size(), 1U);
    BOOST_TEST(answers[0].original == before);
    uint64_t after;
    std::memcpy(&after, f.here(va, 8).data(), sizeof after);
    BOOST_TEST(after == before + 5);
}

BOOST_AUTO_TEST_CASE(a_free_does_not_wait) {
    Fixture f;
    f.source.settle(20);
    uint64_t freed = 99;
    for (const Answer& answer : f.peer.exchange(f.peer.message(f.free_capsule(16, 8))))
        if (answer.opcode == Opcode::rc_send_only)
            freed = reinterpret_cast<const capsule::FreeReply*>(answer.payload.data())->freed_pages;
    BOOST_TEST(freed == 1U);  // held a frame
    BOOST_TEST(f.region.pending.load() == kPages - 8);
    for (uint64_t page = 16; page < 24; page++) {
        BOOST_TEST(f.entry(page) == memory::kAbsent);
        BOOST_TEST(f.region.active().is_marked(page));
        BOOST_TEST(!f.source.settle(page));
    }
    f.peer.acknowledge(f.peer.pair.server->attributes.send_psn);
    const auto answers = f.peer.exchange(f.peer.read(16 * kPageBytes, 64));
    BOOST_REQUIRE_EQUAL(answers.size(), 1U);
    BOOST_TEST((answers[0].payload == Frame(64)));
}
