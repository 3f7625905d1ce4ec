// SPDX-License-Identifier: BSD-3-Clause
// A region without a lease is silent: nothing is answered, acknowledged or changed, and all goes on when the
// lease is there again. FENCE ends it for good, and no store lands behind its settling.
#define BOOST_TEST_MODULE lease_protocol
#include <rte_cycles.h>

#include <boost/test/data/test_case.hpp>

#include "datapath/capsule.h"
#include "tests/protocol/peer_fixture.h"
#include "tests/protocol/rebuilder.h"

using namespace lagan;
using namespace lagan::test;
using capsule::Status;
using memory::kPageBytes;
using roce::Opcode;
namespace data = boost::unit_test::data;

namespace {

constexpr uint64_t kNever = ~0ULL - 1;  // when a lease ends
constexpr uint32_t kPages = 2048;

Frame capsule_of(uint8_t opcode, uint32_t tag, const Frame& body = {}) {
    capsule::Header header{};
    header.version = capsule::kVersion;
    header.opcode = opcode;
    header.tag = tag;
    Frame frame(sizeof header + body.size());
    std::memcpy(frame.data(), &header, sizeof header);
    std::copy(body.begin(), body.end(), frame.begin() + sizeof header);
    return frame;
}
Frame fence_capsule(uint64_t epoch, uint32_t tag = 0x17) {
    const capsule::Fence fence{.epoch = epoch};
    const auto* bytes = reinterpret_cast<const uint8_t*>(&fence);
    return capsule_of(4, tag, {bytes, bytes + sizeof fence});
}
Frame free_capsule(uint32_t first, uint32_t count) {
    const capsule::PageRange range{.first_page = first, .page_count = count};
    const auto* bytes = reinterpret_cast<const uint8_t*>(&range);
    Frame frame = capsule_of(1, 0x18, {bytes, bytes + sizeof range});
    reinterpret_cast<capsule::Header*>(frame.data())->count = 1;
    return frame;
}
Frame bytes_of(const char* hex) {
    Frame frame;
    for (const char* at = hex; *at != '\0'; at++)
        if (*at != ' ') {
            frame.push_back(static_cast<uint8_t>(std::stoul(std::string(at, 2), nullptr, 16)));
            at++;
        }
    return frame;
}

struct Fixture {
    explicit Fixture(LoopbackOptions options = {})
        : link((options.ack_timeout = 0, options)),
          region(link.regions->create({.name = "r", .size_bytes = kPages * kPageBytes, .managed = true})),
          peer(link, region) {}
    void renew(uint64_t until_tsc = kNever) { BOOST_REQUIRE(region.lease.renew(until_tsc)); }
    uint64_t frozen() const { return dropped(*link.server, DropReason::frozen); }
    // The capsule's reply; it is acknowledged.
    Frame call(RawPeer& from, Frame message) const {
        for (const Answer& answer : from.exchange(from.message(std::move(message)))) {
            if (answer.opcode != Opcode::rc_send_only) continue;
            from.acknowledge(answer.psn);
            from.answers();
            return answer.payload;
        }
        return {};
    }
    static Status status(const Frame& reply) {
        BOOST_REQUIRE(reply.size() >= sizeof(capsule::Header));
        return static_cast<Status>(uint16_t{reinterpret_cast<const capsule::Header*>(reply.data())->status});
    }
    uint64_t settled(const Frame& reply) const {
        BOOST_REQUIRE_EQUAL(reply.size(), sizeof(capsule::FenceReply));
        BOOST_TEST(int(status(reply)) == int(Status::ok));
        return reinterpret_cast<const capsule::FenceReply*>(reply.data())->settled;
    }
    Bytes memory(uint64_t va, size_t bytes) const {
        const Bytes all = memory_of(region, *link.frames);
        return {all.begin() + static_cast<ptrdiff_t>(va), all.begin() + static_cast<ptrdiff_t>(va + bytes)};
    }

    Loopback link;
    memory::Region& region;
    RawPeer peer;
};

std::vector<Request> one_of_each(RawPeer& peer) {
    std::vector<Request> requests{peer.write_only(0, pattern(kPageBytes, 1)),
                                  peer.write_only(kPageBytes + 10, pattern(100, 2)),
                                  peer.write_only(0, {}),
                                  peer.fetch_add(2 * kPageBytes, 7),
                                  peer.read(0, 2 * kPageBytes),
                                  peer.message(free_capsule(3, 1)),
                                  peer.message(capsule_of(3, 1))};
    return requests;
}

}  // namespace

BOOST_AUTO_TEST_CASE(without_a_lease_nothing_is_answered) {
    Fixture f;
    const std::vector<Request> requests = one_of_each(f.peer);
    for (int again = 0; again < 3; again++)
        for (const Request& request : requests)
            BOOST_TEST(f.peer.exchange(request).empty());
    BOOST_TEST(f.frozen() == 3 * requests.size());
    BOOST_TEST(f.region.present.load() == 0U);
    BOOST_TEST(f.region.dirty_pages() == 0U);
    BOOST_TEST(f.peer.qp.responder.expected_psn == requests[0].psn);
    BOOST_TEST(f.link.server->active.empty());
    for (const uint64_t refusals : f.link.server->counters.refusals)
        BOOST_TEST(refusals == 0U);

    f.renew();  // and the client sends all of it again
    for (const Request& request : requests)
        BOOST_TEST(!f.peer.exchange(request).empty());
    BOOST_TEST((f.memory(0, kPageBytes) == pattern(kPageBytes, 1)));
    BOOST_TEST((f.memory(kPageBytes + 10, 100) == pattern(100, 2)));
    uint64_t sum;
    std::memcpy(&sum, f.memory(2 * kPageBytes, 8).data(), sizeof sum);
    BOOST_TEST(sum == 7U);
}

BOOST_AUTO_TEST_CASE(a_lease_that_ends_and_comes_back) {
    Fixture f;
    f.renew();
    const std::vector<Request> requests = one_of_each(f.peer);
    for (const Request& request : requests)
        f.peer.exchange(request);
    const Bytes before = memory_of(f.region, *f.link.frames);
    f.region.lease.end();
    // Not even what was done already is acknowledged again, nor is anything NAKed.
    for (const Request& request : requests)
        BOOST_TEST(f.peer.exchange(request).empty());
    Request ahead = f.peer.write_only(0, pattern(kPageBytes, 99));
    ahead.psn += 5;
    BOOST_TEST(f.peer.exchange(ahead).empty());
    BOOST_TEST((memory_of(f.region, *f.link.frames) == before));
    f.renew();
    BOOST_TEST(!f.peer.exchange(requests[0]).empty());
    BOOST_TEST((memory_of(f.region, *f.link.frames) == before));
}

BOOST_AUTO_TEST_CASE(a_lease_ends_by_the_clock) {
    Fixture f;
    f.renew(rte_rdtsc() + rte_get_tsc_hz() / 20);
    BOOST_TEST(!f.region.lease.is_over(rte_rdtsc()));
    const uint64_t end = rte_rdtsc() + rte_get_tsc_hz() / 20;
    while (rte_rdtsc() < end) {
    }
    BOOST_TEST(f.peer.exchange(f.peer.write_only(0, pattern(kPageBytes, 1))).empty());
    BOOST_TEST(f.region.present.load() == 0U);
}

BOOST_AUTO_TEST_CASE(a_message_in_its_middle_goes_on_after_it) {
    Fixture f({.mtu_bytes = 1024});
    f.renew();
    const Bytes bytes = pattern(2048, 5);
    const Request first{.opcode = Opcode::rc_write_first,
                        .psn = 0,
                        .reth = {0, f.peer.rkey, 2048},
                        .payload = Frame(bytes.begin(), bytes.begin() + 1024)};
    const Request last{
        .opcode = Opcode::rc_write_last, .psn = 1, .payload = Frame(bytes.begin() + 1024, bytes.end())};
    BOOST_TEST(f.peer.exchange(first).size() == 1U);
    f.region.lease.end();
    BOOST_TEST(f.peer.exchange(last).empty());
    BOOST_TEST(f.region.present.load() == 0U);
    f.renew();
    BOOST_TEST(f.peer.exchange(last).size() == 1U);
    BOOST_TEST((f.memory(0, 2048) == bytes));
}

// Responses that were due when the lease ended are not sent before it is there again.
BOOST_AUTO_TEST_CASE(responses_stop_with_the_lease) {
    Fixture f({.mtu_bytes = 256});
    f.renew();
    f.peer.exchange(f.peer.write_only(0, pattern(256, 1)));
    const Request read = f.peer.read(0, 64 * 256);  // takes several turns
    f.peer.send(read);
    const size_t some = f.peer.answers(1).size();
    BOOST_TEST(some > 0U);
    BOOST_TEST(some < 64U);
    f.region.lease.end();
    BOOST_TEST(f.peer.answers().empty());
    BOOST_TEST(f.link.server->active.empty());  // it is no work either
    f.renew();
    BOOST_TEST(f.peer.answers().size() == 64 - some);
}

// The acknowledgement of a store that was carried out in time waits behind a READ when the lease ends.
BOOST_AUTO_TEST_CASE(an_acknowledgement_does_not_outlive_the_lease) {
    Loopback link({.ack_timeout = 0});
    Rebuilder source(link, pattern(16 * kPageBytes, 3));
    RawPeer peer(link, source.region);
    BOOST_TEST(peer.exchange(peer.read(0, 64)).empty());
    const Request write = peer.write_only(kPageBytes, pattern(kPageBytes, 9));
    BOOST_TEST(peer.exchange(write).empty());
    BOOST_TEST(source.region.present.load() == 1U);
    source.region.lease.end();
    source.settle(0);
    BOOST_TEST(peer.answers().empty());
    BOOST_REQUIRE(source.region.lease.renew(kNever));
    const auto answers = peer.answers();
    BOOST_REQUIRE_EQUAL(answers.size(), 2U);
    BOOST_TEST(answers[1].psn == write.psn);
}

BOOST_AUTO_TEST_CASE(a_free_stops_half_way) {
    Fixture f;
    f.renew();
    for (uint64_t page = 0; page < 2; page++)
        f.peer.exchange(f.peer.write_only((page == 0 ? 0 : kPages - 1) * kPageBytes, pattern(kPageBytes, 1)));
    f.peer.send(f.peer.message(free_capsule(0, kPages)));
    f.peer.answers(1);
    BOOST_TEST(f.region.present.load() == 1U);  // the first steps are done
    f.region.lease.end();
    BOOST_TEST(f.peer.answers().empty());
    BOOST_TEST(f.region.present.load() == 1U);
    f.renew();
    BOOST_TEST(f.peer.answers().size() == 1U);
    BOOST_TEST(f.region.present.load() == 0U);
}

BOOST_AUTO_TEST_CASE(who_recovers_may_read) {
    Fixture f;
    f.renew();
    f.peer.exchange(f.peer.write_only(0, pattern(kPageBytes, 1)));
    f.region.lease.end();
    RawPeer recoverer(f.link, f.region, Role::recover);
    auto answers = recoverer.exchange(recoverer.read(0, kPageBytes));
    BOOST_REQUIRE_EQUAL(answers.size(), 1U);
    BOOST_TEST((answers[0].payload == Frame(pattern(kPageBytes, 1))));
    BOOST_TEST(int(f.status(f.call(recoverer, capsule_of(3, 1)))) == int(Status::ok));
    BOOST_TEST(int(f.status(f.call(recoverer, free_capsule(0, 1)))) == int(Status::not_allowed));
    answers = recoverer.exchange(recoverer.write_only(0, pattern(kPageBytes, 2)));
    BOOST_REQUIRE_EQUAL(answers.size(), 1U);
    BOOST_TEST(int(answers[0].syndrome) == int(kAccess));
    RawPeer reader(f.link, f.region, Role::read);
    BOOST_TEST(reader.exchange(reader.read(0, kPageBytes)).empty());
}

// docs/protocol.md, "FENCE".
BOOST_AUTO_TEST_CASE(the_example_of_the_document) {
    Fixture f;
    f.renew();
    RawPeer recoverer(f.link, f.region, Role::recover);
    const Frame request = bytes_of("01 04 00 00 00 00 00 17 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 02");
    BOOST_TEST(request == fence_capsule(2), boost::test_tools::per_element());
    BOOST_TEST(f.call(recoverer, request) ==
                   bytes_of("01 84 00 00 00 00 00 17 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00"),
               boost::test_tools::per_element());
    BOOST_TEST(f.call(recoverer, request) ==
                   bytes_of("01 84 00 00 00 00 00 17 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01"),
               boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_fence_is_for_good) {
    Fixture f;
    f.renew();
    f.peer.exchange(f.peer.write_only(0, pattern(kPageBytes, 1)));
    RawPeer recoverer(f.link, f.region, Role::recover);
    BOOST_TEST(f.settled(f.call(recoverer, fence_capsule(5))) == 0U);  // this lcore has not gone round yet
    BOOST_TEST(f.peer.exchange(f.peer.write_only(0, pattern(kPageBytes, 2))).empty());
    BOOST_TEST(f.settled(f.call(recoverer, fence_capsule(5))) == 1U);
    BOOST_TEST(f.settled(f.call(recoverer, fence_capsule(9))) == 1U);
    BOOST_TEST(f.settled(f.call(recoverer, fence_capsule(3))) == 1U);
    BOOST_TEST(f.region.lease.is_fenced());
    BOOST_TEST(!f.region.lease.renew(kNever));
    f.region.lease.end();
    BOOST_TEST(f.region.lease.is_fenced());
    BOOST_TEST(f.region.dirty->fence_epoch() == 9U);
    BOOST_TEST((f.memory(0, kPageBytes) == pattern(kPageBytes, 1)));
    // It is in the dirty list memory, and so is the heartbeat.
    f.link.regions->beat();
    f.link.regions->beat();
    Request words = recoverer.read(112, 16);
    words.reth.rkey = f.region.dirty_rkey;
    const auto answers = recoverer.exchange(words);
    BOOST_REQUIRE_EQUAL(answers.size(), 1U);
    BOOST_TEST(answers[0].payload == bytes_of("02 00 00 00 00 00 00 00 09 00 00 00 00 00 00 00"),
               boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_region_without_a_manager_can_be_fenced) {
    Loopback link({.ack_timeout = 0});
    memory::Region& region = link.make_region("r", 1 << 20);
    RawPeer peer(link, region), recoverer(link, region, Role::recover);
    BOOST_TEST(peer.exchange(peer.write_only(0, pattern(kPageBytes, 1))).size() == 1U);
    BOOST_TEST(!recoverer.exchange(recoverer.message(fence_capsule(2))).empty());
    BOOST_TEST(peer.exchange(peer.write_only(0, pattern(kPageBytes, 2))).empty());
}

// Its lists do not name what it has not got itself.
BOOST_AUTO_TEST_CASE(a_copy_that_is_being_rebuilt_is_no_source) {
    Fixture f;
    Rebuilder rebuilder(f.link, Bytes(2 * kPageBytes));
    RawPeer recoverer(f.link, rebuilder.region, Role::recover);
    rebuilder.settle(0);
    BOOST_TEST(int(f.status(f.call(recoverer, fence_capsule(2)))) == int(Status::bad_argument));
    BOOST_TEST(!rebuilder.region.lease.is_fenced());
    rebuilder.settle(1);
    BOOST_TEST(int(f.status(f.call(recoverer, fence_capsule(2)))) == int(Status::ok));
    BOOST_TEST(rebuilder.region.lease.is_fenced());
}

// The region goes while the capsule is being served: its R_Key is looked up once.
BOOST_AUTO_TEST_CASE(a_fence_is_for_the_region_that_was_found) {
    Loopback link({.ack_timeout = 0});
    memory::Region& region = link.make_region("r", 1 << 20);
    RawPeer recoverer(link, region, Role::recover);
    const uint32_t rkey = std::exchange(region.data_rkey, 0);
    BOOST_TEST(!recoverer.exchange(recoverer.message(fence_capsule(2))).empty());
    BOOST_TEST(region.lease.is_fenced());
    region.data_rkey = rkey;
}

struct BadFence {
    const char* name;
    Frame bytes;
    Role role;
    Status status;
};
std::ostream& operator<<(std::ostream& out, const BadFence& c) {
    return out << c.name;
}

static std::vector<BadFence> bad_fences() {
    Frame longer = fence_capsule(2);
    longer.push_back(0);
    Frame shorter = fence_capsule(2);
    shorter.pop_back();
    return {{"without an epoch", capsule_of(4, 1), Role::recover, Status::bad_length},
            {"too long", longer, Role::recover, Status::bad_length},
            {"too short", shorter, Role::recover, Status::bad_length},
            {"by a writer", fence_capsule(2), Role::write, Status::not_allowed},
            {"by a reader", fence_capsule(2), Role::read, Status::not_allowed},
            {"of the region's epoch", fence_capsule(1), Role::recover, Status::bad_argument},
            {"of epoch 0", fence_capsule(0), Role::recover, Status::bad_argument}};
}

BOOST_DATA_TEST_CASE(a_bad_fence_does_nothing, data::make(bad_fences()), c) {
    Fixture f;
    f.renew();
    RawPeer by(f.link, f.region, c.role);
    BOOST_TEST(int(f.status(f.call(by, c.bytes))) == int(c.status));
    BOOST_TEST(!f.region.lease.is_fenced());
    BOOST_TEST(f.region.dirty->fence_epoch() == 0U);
    BOOST_TEST(f.peer.exchange(f.peer.write_only(0, pattern(kPageBytes, 1))).size() == 1U);
}
