// SPDX-License-Identifier: BSD-3-Clause
// Memory that has gone bad: found in idle time or by a READ that comes again, never served, never taken over
// into something new, gone with the next store.
#define BOOST_TEST_MODULE damage_protocol
#include <boost/test/data/test_case.hpp>

#include "datapath/capsule.h"
#include "tests/protocol/peer_fixture.h"

using namespace lagan;
using namespace lagan::test;
using memory::kPageBytes;
namespace data = boost::unit_test::data;

namespace {

struct Damaged : PeerFixture {
    // Page 1 of the region has known bytes.
    explicit Damaged(LoopbackOptions options = {}) : PeerFixture(options) {
        content = pattern(kPageBytes, 3);
        expect_stored(peer, content);
    }

    void expect_stored(RawPeer& by, const Bytes& bytes) {
        const uint32_t mtu = link.options.mtu_bytes;
        for (uint32_t at = 0; at < kPageBytes; at += mtu)
            if (by.exchange(by.write_only(kPageBytes + at, {bytes.begin() + at, bytes.begin() + at + mtu}))
                    .size() != 1)
                BOOST_FAIL("the page is not stored");
    }
    memory::Pte entry() const { return region.page_table[1].load(); }
    bool is_poisoned() const { return (entry() & memory::kPtePoisoned) != 0; }
    void flip(size_t byte) { link.frames->data(memory::pte_frame(entry()))[byte] ^= std::byte{4}; }
    void poison() { BOOST_REQUIRE(memory::poison_page(region, 1, memory::pte_frame(entry()))); }

    void expect_refused(const std::vector<Answer>& answers, const Request& request) {
        BOOST_REQUIRE_EQUAL(answers.size(), 1U);
        BOOST_TEST(int(answers[0].syndrome) == int(kOperation));
        BOOST_TEST(answers[0].psn == request.psn);
        BOOST_TEST(refused(*link.server, Refusal::poisoned_page) == 1U);
        BOOST_TEST(is_poisoned());
    }
    void expect_readable(const Bytes& bytes) {
        RawPeer other(link, region);
        const auto answers = other.exchange(other.read(kPageBytes, kPageBytes));
        Bytes read;
        for (const Answer& answer : answers)
            read.insert(read.end(), answer.payload.begin(), answer.payload.end());
        BOOST_TEST(read == bytes);
        BOOST_TEST(!is_poisoned());
        BOOST_TEST(region.damaged.load() == 0U);
    }
    void expect_found_once() {
        BOOST_TEST(counters().pages_poisoned == 1U);
        BOOST_TEST(region.damaged.load() == 1U);
        DamagedPage pages[4];
        BOOST_REQUIRE_EQUAL(link.server->take_damaged(pages, 4), 1U);
        BOOST_TEST(pages[0].page == 1U);
        BOOST_TEST(pages[0].region_id == region.id);
    }

    Bytes content;
};

}  // namespace

BOOST_AUTO_TEST_CASE(the_scrubber_finds_it_in_idle_time) {
    Damaged f({.scrub_pages_per_second = 1'000'000'000});
    const auto rounds = [&] { return f.counters().scrub_rounds; };
    const uint64_t before = rounds();
    BOOST_REQUIRE(f.link.poll_until([&] { return rounds() > before + 1; }));
    BOOST_TEST(f.counters().pages_scrubbed >= 1U);
    BOOST_TEST(f.counters().pages_poisoned == 0U);

    f.flip(4000);
    BOOST_REQUIRE(f.link.poll_until([&] { return f.counters().pages_poisoned != 0; }));
    f.expect_found_once();
    const Request read = f.peer.read(kPageBytes, 8);
    f.expect_refused(f.peer.exchange(read), read);
}

BOOST_AUTO_TEST_CASE(the_scrubber_waits_while_there_is_work) {
    Damaged f({.scrub_pages_per_second = 1'000'000'000});
    for (int i = 0; i < 50; i++) {
        const Counters before = f.counters();
        f.peer.send(f.peer.read(kPageBytes, 64));
        BOOST_REQUIRE(poll_once(*f.link.server) != 0);
        BOOST_TEST(f.counters().pages_scrubbed == before.pages_scrubbed);
        BOOST_TEST(f.counters().scrub_rounds == before.scrub_rounds);
        f.peer.answers();
    }
}

BOOST_AUTO_TEST_CASE(without_a_rate_nothing_is_scrubbed) {
    Damaged f;
    f.link.settle();
    BOOST_TEST(f.counters().pages_scrubbed == 0U);
    BOOST_TEST(f.counters().scrub_rounds == 0U);
}

// A response of damaged bytes has a wrong ICRC. Nobody takes it, and the request comes again.
BOOST_DATA_TEST_CASE(a_read_that_comes_again_finds_it,
                     data::make({256, 1024, 4096}) * data::make({false, true}), mtu, linear) {
    Damaged f({.mtu_bytes = static_cast<uint16_t>(mtu), .server_linear = linear});
    const Request read = f.peer.read(kPageBytes, kPageBytes);
    f.peer.exchange(read);
    f.flip(100);
    f.expect_refused(f.peer.exchange(read), read);
    f.expect_found_once();
}

BOOST_AUTO_TEST_CASE(a_client_is_told_instead_of_given_wrong_bytes) {
    Loopback link;
    memory::Region& region = link.make_region("r", 1 << 20);
    const auto pair = link.connect(region);
    Bytes bytes = pattern(3 * kPageBytes, 5);
    BOOST_REQUIRE(link.write(pair, region.data_rkey, 0, bytes.data(), 3 * kPageBytes) ==
                  roce::WorkStatus::success);
    link.frames->data(memory::pte_frame(region.page_table[1].load()))[77] ^= std::byte{1};
    BOOST_TEST((link.read(pair, region.data_rkey, 0, bytes.data(), 3 * kPageBytes) ==
                roce::WorkStatus::remote_operation));
    BOOST_TEST(region.damaged.load() == 1U);
    BOOST_TEST((region.page_table[1].load() & memory::kPtePoisoned) != 0U);
}

BOOST_AUTO_TEST_CASE(parts_of_a_poisoned_page_are_refused) {
    for (const bool atomic : {false, true}) {
        Damaged f;
        f.poison();
        const Request request =
            atomic ? f.peer.fetch_add(kPageBytes + 8, 1) : f.peer.write_only(kPageBytes + 5, Bytes(100, 1));
        f.expect_refused(f.peer.exchange(request), request);
    }
}

BOOST_AUTO_TEST_CASE(whole_stores_and_frees_mend_it) {
    Damaged f;
    for (const Bytes& bytes : {pattern(kPageBytes, 99), Bytes(kPageBytes)}) {
        f.poison();
        f.expect_stored(f.peer, bytes);
        f.expect_readable(bytes);
        f.expect_stored(f.peer, f.content);
    }
    f.poison();
    struct {
        capsule::Header header;
        capsule::PageRange range;
    } request{};
    request.header.version = capsule::kVersion;
    request.header.opcode = static_cast<uint8_t>(capsule::Opcode::free_pages);
    request.header.count = 1;
    request.range = {.first_page = 1, .page_count = 1};
    const auto* begin = reinterpret_cast<const uint8_t*>(&request);
    f.peer.exchange(f.peer.message({begin, begin + sizeof request}));
    f.expect_readable(Bytes(kPageBytes));
}

// Else the damaged bytes would get CRCs that fit.
BOOST_DATA_TEST_CASE(what_a_store_keeps_of_a_page_is_verified,
                     data::make({0U, 1000U, 1023U, 1100U, 4095U}) * data::make({false, true}), damaged_byte,
                     atomic) {
    Damaged f;
    f.flip(damaged_byte);
    // Bytes 1024 to 1099, or 1024 to 1031.
    const Request request =
        atomic ? f.peer.fetch_add(kPageBytes + 1024, 1) : f.peer.write_only(kPageBytes + 1024, Bytes(76, 1));
    f.expect_refused(f.peer.exchange(request), request);
    f.expect_found_once();
}

BOOST_AUTO_TEST_CASE(a_store_of_all_blocks_that_are_damaged_mends_them) {
    Damaged f;
    f.flip(1024);
    f.flip(3071);
    Bytes part = pattern(2048, 200);
    f.expect_ack(f.peer.exchange(f.peer.write_only(kPageBytes + 1024, part)), 1, 2);
    std::copy(part.begin(), part.end(), f.content.begin() + 1024);
    f.expect_readable(f.content);
}
