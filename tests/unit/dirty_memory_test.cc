// SPDX-License-Identifier: BSD-3-Clause
#define BOOST_TEST_MODULE dirty_memory
#include "datapath/memory/dirty_memory.h"

#include <boost/test/unit_test.hpp>

#include "tests/unit/memory_fixture.h"

using namespace lagan;
using namespace lagan::memory;

namespace {

constexpr DirtyMemory::Identity kRegion{
    .region_id = 7, .region_uid = 0x99, .page_count = 300'000, .epoch = 9};

uint64_t word(std::span<const std::byte> memory, uint64_t offset) {
    uint64_t value;
    std::memcpy(&value, memory.data() + offset, sizeof(value));
    return value;
}

}  // namespace

BOOST_AUTO_TEST_CASE(memory_layout_is_what_the_protocol_says) {
    test::Memory memory(DirtyMemory::bytes_needed(kRegion.page_count));
    BOOST_TEST(memory.bytes().size() == 4096U + 2 * (4096U + 40'960U) + 40'960U);
    DirtyMemory dirty(memory.bytes(), kRegion);
    const auto bytes = dirty.memory();
    BOOST_TEST(word(bytes, 0) == 0x4c4147414e444c31U);
    BOOST_TEST(word(bytes, 8) == (4096ULL << 32 | 2U));  // page bytes, version
    BOOST_TEST(word(bytes, 16) == 7U);
    BOOST_TEST(word(bytes, 24) == 300'000U);
    BOOST_TEST(word(bytes, 32) == 9U);     // epoch
    BOOST_TEST(word(bytes, 40) == 0U);     // cut
    BOOST_TEST(word(bytes, 48) == 0U);     // durable cut
    BOOST_TEST(word(bytes, 56) == 0U);     // active list
    BOOST_TEST(word(bytes, 64) == 4096U);  // list 0: summary, bitmap
    BOOST_TEST(word(bytes, 72) == 8192U);
    BOOST_TEST(word(bytes, 80) == 49'152U);  // list 1
    BOOST_TEST(word(bytes, 88) == 53'248U);
    BOOST_TEST(word(bytes, 96) == 94'208U);  // present
    BOOST_TEST(word(bytes, 104) == 0x99U);

    for (const uint64_t page : {0ULL, 4095ULL, 4096ULL, 299'999ULL})
        dirty.active().mark(page);
    BOOST_TEST(word(bytes, 8192) == 1U);
    BOOST_TEST(word(bytes, 8192 + 63 * 8) == 1ULL << 63);
    BOOST_TEST(word(bytes, 8192 + 64 * 8) == 1U);
    BOOST_TEST(word(bytes, 8192 + 4687 * 8) == 1ULL << 31);
    BOOST_TEST(word(bytes, 4096) == 3U);
    BOOST_TEST(word(bytes, 4096 + 8) == 1ULL << (73 - 64));
    BOOST_TEST(dirty.active().count() == 4U);

    BOOST_TEST(dirty.begin_cut() == 1U);
    BOOST_TEST(word(bytes, 40) == 1U);
    BOOST_TEST(word(bytes, 56) == 1U);
    BOOST_TEST(dirty.active().count() == 0U);
    BOOST_TEST(dirty.drain().count() == 4U);
    dirty.active().mark(1);
    BOOST_TEST(word(bytes, 53'248) == 2U);
    dirty.set_durable(1);
    BOOST_TEST(word(bytes, 48) == 1U);
    dirty.present()[1] = 5;
    BOOST_TEST(word(bytes, 94'208 + 8) == 5U);
}

BOOST_AUTO_TEST_CASE(opens_its_own_memory_and_nothing_else) {
    test::Memory memory(DirtyMemory::bytes_needed(kRegion.page_count));
    {
        DirtyMemory dirty(memory.bytes(), kRegion);
        dirty.active().mark(299'999);
        dirty.begin_cut();
    }
    DirtyMemory again(memory.bytes(), kRegion);
    BOOST_TEST(again.drain().is_marked(299'999));
    BOOST_TEST(again.cut_number() == 1U);
    const auto refused = [&](auto change) {
        DirtyMemory::Identity region = kRegion;
        change(region);
        BOOST_CHECK_THROW(DirtyMemory(memory.bytes(), region), std::runtime_error);
    };
    refused([](auto& region) { region.region_id++; });
    refused([](auto& region) { region.region_uid++; });
    refused([](auto& region) { region.page_count--; });
    refused([](auto& region) { region.page_count = 0; });
    refused([](auto& region) { region.page_count = kMaxRegionPages + 1; });
    refused([](auto& region) { region.epoch++; });
    BOOST_CHECK_THROW(DirtyMemory(memory.bytes().first(8192), kRegion), std::runtime_error);
    // Any bit of the header that is not a number of its own.
    for (size_t at = 0; at < 112; ++at) {
        if (at >= 40 && at < 56) continue;  // cut numbers
        memory.bytes()[at] ^= std::byte{2};
        BOOST_CHECK_THROW(DirtyMemory(memory.bytes(), kRegion), std::runtime_error);
        memory.bytes()[at] ^= std::byte{2};
    }
    BOOST_CHECK_NO_THROW(DirtyMemory(memory.bytes(), kRegion));
}
