// SPDX-License-Identifier: BSD-3-Clause
// READ, WRITE and capsules over an undisturbed link.
#define BOOST_TEST_MODULE basic_protocol
#include <algorithm>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>
#include <numeric>

#include "datapath/capsule.h"
#include "tests/support/loopback.h"

using lagan::Role;
using lagan::memory::kPageBytes;
using lagan::roce::WorkStatus;
using lagan::test::Loopback;
namespace capsule = lagan::capsule;
namespace data = boost::unit_test::data;

static std::vector<uint8_t> pattern(size_t bytes, uint8_t seed) {
    std::vector<uint8_t> result(bytes);
    for (size_t i = 0; i < bytes; i++)
        result[i] = static_cast<uint8_t>(seed + i * 7 + i / 256);
    return result;
}

BOOST_AUTO_TEST_CASE(absent_pages_read_as_zeros) {
    Loopback link;
    auto& region = link.make_region("r", 1 << 20);
    const auto pair = link.connect(region);
    std::vector<uint8_t> bytes(3 * kPageBytes, 0xff);
    BOOST_TEST(link.read(pair, region.data_rkey, 100, bytes.data(), 3 * kPageBytes - 7) ==
               WorkStatus::success);
    BOOST_TEST(std::count(bytes.begin(), bytes.end() - 7, 0) == 3 * kPageBytes - 7);
    BOOST_TEST(region.present == 0U);
}

BOOST_DATA_TEST_CASE(what_was_written_is_read,
                     data::make({256, 512, 1024, 2048, 4096}) * data::make({false, true}) *
                         data::make({false, true}),
                     mtu, ipv6, linear) {
    Loopback link(
        {.mtu_bytes = static_cast<uint16_t>(mtu), .ipv6 = ipv6, .server_linear = linear, .psn = 0xfffff0});
    auto& region = link.make_region("r", 4 << 20);
    const auto pair = link.connect(region);
    uint8_t seed = 1;
    for (uint32_t offset : {0U, 1U, 1023U, 1024U, 4095U, 4096U, 40961U}) {
        for (uint32_t bytes : {0U, 1U, 3U, 255U, 1024U, 4095U, 4096U, 4097U, 65536U, 1000003U}) {
            const auto out = pattern(bytes, seed++);
            std::vector<uint8_t> in(bytes + 8, 0xee);
            BOOST_REQUIRE(link.write(pair, region.data_rkey, offset, out.data(), bytes) ==
                          WorkStatus::success);
            BOOST_REQUIRE(link.read(pair, region.data_rkey, offset, in.data(), bytes) == WorkStatus::success);
            BOOST_REQUIRE(std::equal(out.begin(), out.end(), in.begin()));
            BOOST_REQUIRE(in[bytes] == 0xee);
        }
    }
    BOOST_TEST(link.server->counters.drops[static_cast<unsigned>(lagan::DropReason::icrc)] == 0U);
    BOOST_TEST(link.client->counters.drops[static_cast<unsigned>(lagan::DropReason::icrc)] == 0U);
}

BOOST_AUTO_TEST_CASE(free_makes_pages_absent_and_dirty) {
    Loopback link;
    auto& region = link.make_region("r", 1 << 20);
    const auto pair = link.connect(region);
    const auto out = pattern(16 * kPageBytes, 3);
    BOOST_REQUIRE(link.write(pair, region.data_rkey, 0, out.data(), 16 * kPageBytes) == WorkStatus::success);
    BOOST_TEST(region.present == 16U);

    struct {
        capsule::Header header;
        capsule::PageRange ranges[2];
    } request{};
    request.header.version = capsule::kVersion;
    request.header.opcode = static_cast<uint8_t>(capsule::Opcode::free_pages);
    request.header.tag = 77;
    request.header.count = 2;
    request.ranges[0] = {.first_page = 0, .page_count = 4};
    request.ranges[1] = {.first_page = 12, .page_count = 100};
    const auto reply = link.call(pair, &request, sizeof request);
    BOOST_REQUIRE(reply.size() == sizeof(capsule::FreeReply));
    const auto& freed = *reinterpret_cast<const capsule::FreeReply*>(reply.data());
    BOOST_TEST(freed.header.tag == 77U);
    BOOST_TEST(freed.header.status == 0);
    BOOST_TEST(freed.header.opcode == 0x81);
    BOOST_TEST(freed.freed_pages == 8U);
    BOOST_TEST(region.present == 8U);
    BOOST_TEST(region.active().is_marked(0));

    std::vector<uint8_t> in(kPageBytes, 0xff);
    BOOST_REQUIRE(link.read(pair, region.data_rkey, 0, in.data(), kPageBytes) == WorkStatus::success);
    BOOST_TEST(std::count(in.begin(), in.end(), 0) == kPageBytes);
}

BOOST_AUTO_TEST_CASE(errors_end_the_connection_with_the_nak_that_belongs_to_them) {
    Loopback link;
    auto& region = link.make_region("r", 1 << 20);
    auto& other = link.make_region("other", 1 << 20);
    std::vector<uint8_t> bytes(kPageBytes);
    const auto read_status = [&](uint32_t rkey, uint64_t va, uint32_t length) {
        return link.read(link.connect(region), rkey, va, bytes.data(), length);
    };
    BOOST_TEST((read_status(region.data_rkey ^ 0x80000000, 0, 8) == WorkStatus::remote_access));
    BOOST_TEST((read_status(other.data_rkey, 0, 8) == WorkStatus::remote_access));
    BOOST_TEST((read_status(region.data_rkey, (1 << 20) - 7, 8) == WorkStatus::remote_access));
    BOOST_TEST((read_status(region.data_rkey, ~0ULL - 3, 8) == WorkStatus::remote_access));
    BOOST_TEST((read_status(region.data_rkey ^ 1, 0, 0) == WorkStatus::success));  // C9-88
    BOOST_TEST((link.write(link.connect(region, Role::read), region.data_rkey, 0, bytes.data(), 8) ==
                WorkStatus::remote_access));
    BOOST_TEST((link.write(link.connect(region), region.dirty_rkey, 0, bytes.data(), 8) ==
                WorkStatus::remote_access));
    BOOST_TEST(
        (link.read(link.connect(region), region.dirty_rkey, 0, bytes.data(), 4096) == WorkStatus::success));
}

// A capsule is executed behind the READs that came before it, however many slices those take.
BOOST_AUTO_TEST_CASE(a_free_does_not_overtake_a_read) {
    Loopback link;
    auto& region = link.make_region("r", 8 << 20);
    const auto pair = link.connect(region);
    const auto out = pattern(1 << 20, 9);
    BOOST_REQUIRE(link.write(pair, region.data_rkey, 0, out.data(), 1 << 20) == WorkStatus::success);
    struct {
        capsule::Header header;
        capsule::PageRange range;
    } request{};
    request.header.version = capsule::kVersion;
    request.header.opcode = static_cast<uint8_t>(capsule::Opcode::free_pages);
    request.header.count = 1;
    request.range = {.first_page = 0, .page_count = 256};
    std::vector<uint8_t> in(1 << 20);
    link.log.entries.clear();
    BOOST_REQUIRE(lagan::roce::post_read(*link.client, *pair.client, 1, region.data_rkey, 0,
                                         reinterpret_cast<std::byte*>(in.data()), 1 << 20));
    BOOST_REQUIRE(link.call(pair, &request, sizeof request).size() == sizeof(capsule::FreeReply));
    BOOST_REQUIRE(link.wait_completions(2));
    BOOST_TEST((in == out));
    BOOST_TEST(region.present == 0U);
}

BOOST_AUTO_TEST_CASE(nothing_needs_no_buffer) {
    Loopback link;
    auto& region = link.make_region("r", 1 << 20);
    const auto pair = link.connect(region);
    BOOST_TEST(link.write(pair, region.data_rkey, 0, nullptr, 0) == WorkStatus::success);
    BOOST_TEST(link.read(pair, region.data_rkey, 0, nullptr, 0) == WorkStatus::success);
    const auto reply = link.call(pair, nullptr, 0);
    BOOST_REQUIRE(reply.size() == sizeof(capsule::Header));
    BOOST_TEST(reinterpret_cast<const capsule::Header*>(reply.data())->status ==
               static_cast<uint16_t>(capsule::Status::bad_length));
}
