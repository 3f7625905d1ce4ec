// SPDX-License-Identifier: BSD-3-Clause
// Capsules of every length, version, opcode and role; each is answered with a status, and the connection goes
// on.
#define BOOST_TEST_MODULE capsule_protocol
#include <boost/test/data/test_case.hpp>

#include "datapath/capsule.h"
#include "tests/protocol/peer_fixture.h"

using namespace lagan;
using namespace lagan::test;
using capsule::Status;
using roce::Opcode;
namespace data = boost::unit_test::data;

namespace {

constexpr uint64_t kRegionBytes = 4 << 20;
constexpr uint32_t kPages = kRegionBytes / memory::kPageBytes;
constexpr uint32_t kTag = 0xc0ffee;

Frame header_of(uint8_t opcode, uint32_t count = 0, uint8_t version = capsule::kVersion) {
    capsule::Header header{};
    header.version = version;
    header.opcode = opcode;
    header.tag = kTag;
    header.count = count;
    const auto* bytes = reinterpret_cast<const uint8_t*>(&header);
    return {bytes, bytes + sizeof header};
}

template <typename Part>
Frame operator+(Frame frame, const Part& part) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(&part);
    frame.insert(frame.end(), bytes, bytes + sizeof part);
    return frame;
}

Frame free_capsule(const std::vector<std::pair<uint32_t, uint32_t>>& ranges) {
    Frame frame = header_of(1, static_cast<uint32_t>(ranges.size()));
    for (const auto& [first, count] : ranges)
        frame = frame + capsule::PageRange{.first_page = first, .page_count = count};
    return frame;
}

Frame dirty_query(uint8_t kind, uint64_t cursor) {
    return header_of(2) + capsule::DirtyQuery{.kind = kind, .reserved = {}, .cursor = cursor};
}

struct Fixture : PeerFixture {
    explicit Fixture(LoopbackOptions options = {}, uint64_t bytes = kRegionBytes, bool overcommit = false)
        : PeerFixture(options, bytes, 0, overcommit) {}
    // The reply's bytes; acknowledges it, so that any number of capsules can follow.
    Frame call(RawPeer& from, Frame message) {
        for (const Answer& answer : from.exchange(from.message(std::move(message)))) {
            if (answer.opcode != Opcode::rc_send_only) continue;
            from.acknowledge(answer.psn);
            from.answers();
            return answer.payload;
        }
        return {};
    }
    Frame call(Frame message) { return call(peer, std::move(message)); }
    Status status(const Frame& reply) const {
        BOOST_REQUIRE(reply.size() >= sizeof(capsule::Header));
        const auto& header = *reinterpret_cast<const capsule::Header*>(reply.data());
        BOOST_TEST(int(header.version) == int(capsule::kVersion));
        BOOST_TEST((header.opcode & capsule::kReply) != 0);
        return static_cast<Status>(uint16_t{header.status});
    }
    void fill(uint32_t first, uint32_t count) {
        for (uint32_t page = first; page < first + count; page++)
            peer.exchange(peer.write_only(uint64_t{page} * memory::kPageBytes, pattern(4096, uint8_t(page))));
    }
};

struct BadCapsule {
    const char* name;
    Frame bytes;
    Status status;
    Role role = Role::write;
};
std::ostream& operator<<(std::ostream& out, const BadCapsule& c) {
    return out << c.name;
}

std::vector<BadCapsule> bad_capsules() {
    std::vector<BadCapsule> cases = {
        {"nothing", {}, Status::bad_length},
        {"unknown version", header_of(3, 0, 2), Status::bad_version},
        {"version 0", header_of(3, 0, 0), Status::bad_version},
        {"opcode 0", header_of(0), Status::bad_opcode},
        {"opcode 5", header_of(5), Status::bad_opcode},
        {"a reply", header_of(0x81), Status::bad_opcode},
        {"opcode 255", header_of(0xff), Status::bad_opcode},
        {"FREE with a count and no ranges", header_of(1, 1), Status::bad_length},
        {"FREE with too high a count", header_of(1, 2) + capsule::PageRange{}, Status::bad_length},
        {"FREE with too low a count", header_of(1, 0) + capsule::PageRange{}, Status::bad_length},
        {"FREE whose length overflows", header_of(1, 0x20000000), Status::bad_length},
        {"FREE whose length overflows to one range", header_of(1, 0x20000001) + capsule::PageRange{},
         Status::bad_length},
        {"FREE of 2^32-1 ranges", header_of(1, 0xffffffff), Status::bad_length},
        {"FREE with half a range", header_of(1, 1) + uint32_t{0}, Status::bad_length},
        {"FREE beyond the end", free_capsule({{kPages, 1}}), Status::bad_range},
        {"FREE across the end", free_capsule({{kPages - 1, 2}}), Status::bad_range},
        {"FREE that wraps", free_capsule({{0xffffffff, 0xffffffff}}), Status::bad_range},
        {"FREE that wraps to 0", free_capsule({{1, 0xffffffff}}), Status::bad_range},
        {"FREE with one good and one bad range", free_capsule({{0, 4}, {kPages - 1, 2}}), Status::bad_range},
        {"FREE by a reader", free_capsule({{0, 1}}), Status::not_allowed, Role::read},
        {"FREE by a recoverer", free_capsule({{0, 1}}), Status::not_allowed, Role::recover},
        {"DIRTY_QUERY without its body", header_of(2), Status::bad_length},
        {"DIRTY_QUERY too long", dirty_query(0, 0) + uint8_t{0}, Status::bad_length},
        {"DIRTY_QUERY of another kind", dirty_query(3, 0), Status::bad_argument},
        {"DIRTY_QUERY from behind the end", dirty_query(1, kPages + 1), Status::bad_range},
        {"DIRTY_QUERY from 2^64-1", dirty_query(1, ~0ULL), Status::bad_range},
        {"REGION_INFO too long", header_of(3) + uint8_t{0}, Status::bad_length},
        {"the longest one", {}, Status::bad_opcode},
    };
    cases.back().bytes = header_of(0x7f);
    cases.back().bytes.resize(kMaxMessageBytes, 1);
    for (uint32_t bytes = 1; bytes < sizeof(capsule::Header); bytes++) {
        Frame cut = header_of(3);
        cut.resize(bytes);
        cases.push_back({"cut", cut, Status::bad_length});
    }
    return cases;
}

}  // namespace

BOOST_DATA_TEST_CASE(bad_capsules_get_a_status_and_do_nothing, data::make(bad_capsules()), c) {
    Fixture f;
    f.fill(0, 4);
    f.fill(kPages - 1, 1);
    RawPeer peer(f.link, f.region, c.role);
    const Frame reply = f.call(peer, c.bytes);
    BOOST_TEST(reply.size() == sizeof(capsule::Header));
    BOOST_TEST(int(f.status(reply)) == int(c.status));
    if (c.bytes.size() >= 8) BOOST_TEST(reinterpret_cast<const capsule::Header*>(reply.data())->tag == kTag);
    if (c.bytes.size() >= 2) BOOST_TEST(int(reply[1]) == (c.bytes[1] | 0x80));
    BOOST_TEST(f.region.present == 5U);
    BOOST_TEST(f.counters().capsule_errors == 1U);
    // The connection goes on.
    BOOST_TEST(int(f.status(f.call(peer, header_of(3)))) == int(Status::ok));
    BOOST_TEST(peer.exchange(peer.read(0, 4096)).at(0).payload == pattern(4096, 0));
}

BOOST_AUTO_TEST_CASE(free_counts_what_held_a_frame) {
    Fixture f;
    f.fill(0, 10);
    const Frame reply = f.call(free_capsule({{0, 3}, {2, 3}, {9, 0}, {9, 100}}));
    BOOST_REQUIRE(reply.size() == sizeof(capsule::FreeReply));
    const auto& freed = *reinterpret_cast<const capsule::FreeReply*>(reply.data());
    BOOST_TEST(freed.header.count == 4U);
    BOOST_TEST(freed.freed_pages == 6U);
    BOOST_TEST(f.region.present == 4U);
    f.peer.answers();
    BOOST_TEST(f.link.frames_in_use() == 4U);
    BOOST_TEST(f.memory(0, 5 * 4096) == Bytes(5 * 4096));
    BOOST_TEST(f.memory(5 * 4096, 4096) == pattern(4096, 5));
    BOOST_TEST(f.counters().pages_freed == 6U);
}

BOOST_AUTO_TEST_CASE(a_free_of_no_ranges_is_fine) {
    Fixture f;
    const Frame reply = f.call(free_capsule({}));
    BOOST_TEST(int(f.status(reply)) == int(Status::ok));
    BOOST_TEST(reply.size() == sizeof(capsule::FreeReply));
}

BOOST_AUTO_TEST_CASE(a_capsule_of_several_packets) {
    Fixture f({.mtu_bytes = 256});
    f.peer.exchange(f.peer.write_only(77 * 4096, {1}));
    std::vector<std::pair<uint32_t, uint32_t>> ranges;
    for (uint32_t i = 0; i < 254; i++)
        ranges.emplace_back(i, 1);
    const Frame bytes = free_capsule(ranges);  // 2048 bytes
    BOOST_REQUIRE(bytes.size() == kMaxMessageBytes);
    for (uint32_t i = 0; i < 8; i++) {
        const Opcode opcode = i == 0   ? Opcode::rc_send_first
                              : i == 7 ? Opcode::rc_send_last
                                       : Opcode::rc_send_middle;
        f.peer.send({.opcode = opcode,
                     .psn = 1 + i,
                     .payload = Frame(bytes.begin() + i * 256, bytes.begin() + (i + 1) * 256),
                     .ack_request = i == 7});
    }
    const auto answers = f.peer.answers();
    BOOST_REQUIRE(answers.size() == 2U);
    BOOST_TEST(f.region.present == 0U);
}

BOOST_AUTO_TEST_CASE(dirty_pages_are_counted_and_listed) {
    Fixture f;
    f.fill(3, 2);
    f.fill(9, 1);
    f.fill(kPages - 1, 1);
    const Frame counted = f.call(dirty_query(0, 0));
    BOOST_REQUIRE(counted.size() == sizeof(capsule::DirtyCounts));
    const auto& counts = *reinterpret_cast<const capsule::DirtyCounts*>(counted.data());
    BOOST_TEST(counts.dirty_pages == 4U);
    BOOST_TEST(counts.present_pages == 4U);
    BOOST_TEST(counts.page_count == kPages);

    std::vector<std::pair<uint64_t, uint64_t>> found;
    for (uint64_t cursor = 0; cursor != kPages;) {
        const Frame listed = f.call(dirty_query(1, cursor));
        BOOST_TEST(int(f.status(listed)) == int(Status::ok));
        const auto& head = *reinterpret_cast<const capsule::DirtyRanges*>(listed.data());
        BOOST_REQUIRE(listed.size() == sizeof head + head.header.count * sizeof(capsule::PageRange));
        const auto* ranges = reinterpret_cast<const capsule::PageRange*>(&head + 1);
        for (uint32_t i = 0; i < head.header.count; i++)
            found.emplace_back(ranges[i].first_page, ranges[i].page_count);
        BOOST_REQUIRE(head.next_cursor > cursor);
        cursor = head.next_cursor;
    }
    const std::vector<std::pair<uint64_t, uint64_t>> expected = {{3, 2}, {9, 1}, {kPages - 1, 1}};
    BOOST_TEST((found == expected));
}

BOOST_AUTO_TEST_CASE(region_info_tells_how_to_reach_it) {
    Fixture f;
    f.fill(0, 3);
    const Frame reply = f.call(header_of(3));
    BOOST_REQUIRE(reply.size() == sizeof(capsule::RegionInfo));
    const auto& info = *reinterpret_cast<const capsule::RegionInfo*>(reply.data());
    BOOST_TEST(info.region_id == f.region.id);
    BOOST_TEST(info.page_bytes == 4096U);
    BOOST_TEST(info.data_rkey == f.region.data_rkey);
    BOOST_TEST(info.dirty_rkey == f.region.dirty_rkey);
    BOOST_TEST(info.size_bytes == kRegionBytes);
    BOOST_TEST(info.reserve_bytes == kRegionBytes);
    BOOST_TEST(info.present_pages == 3U);
    BOOST_TEST(info.dirty_pages == 3U);
    BOOST_TEST(info.dirty_bytes == f.region.dirty->memory().size());
}

BOOST_AUTO_TEST_CASE(capsules_about_a_region_that_has_gone) {
    Fixture f;
    f.link.rkeys->remove(f.region.data_rkey);
    for (const Frame& message : {free_capsule({{0, 1}}), dirty_query(0, 0), dirty_query(1, 0), header_of(3)})
        BOOST_TEST(int(f.status(f.call(message))) == int(Status::no_region));
}

BOOST_AUTO_TEST_CASE(a_capsule_in_progress_ends_when_its_region_goes) {
    Fixture f({}, 1ULL << 30, true);
    f.peer.send(f.peer.message(free_capsule({{0, 1 << 18}})));
    BOOST_TEST(f.peer.answers(3).size() <= 1U);  // the ACK at most
    f.link.rkeys->remove(f.region.data_rkey);
    const auto answers = f.peer.answers();
    BOOST_REQUIRE(answers.size() >= 1U);
    BOOST_TEST(int(f.status(answers[0].payload)) == int(Status::no_region));
    f.peer.acknowledge(answers[0].psn);
    f.peer.answers();
    BOOST_TEST(int(f.status(f.call(free_capsule({{0, 1}})))) == int(Status::no_region));
}
