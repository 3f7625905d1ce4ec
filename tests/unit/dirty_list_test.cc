// SPDX-License-Identifier: BSD-3-Clause
#define BOOST_TEST_MODULE dirty_list
#include "datapath/memory/dirty_list.h"

#include <atomic>
#include <boost/test/unit_test.hpp>
#include <thread>

#include "tests/unit/memory_fixture.h"

using namespace lagan;
using namespace lagan::memory;

namespace {

uint64_t word(std::span<const std::byte> memory, uint64_t offset) {
    uint64_t value;
    std::memcpy(&value, memory.data() + offset, sizeof(value));
    return value;
}

// Every page that `ranges` names, from all calls until the end; checks order, bounds and progress.
std::vector<bool> collect(const DirtyList& list, uint64_t page_count, size_t out_size, uint32_t word_budget) {
    std::vector<bool> pages(page_count);
    std::vector<DirtyList::Range> out(out_size);
    uint64_t cursor = 0;
    uint64_t covered = 0;
    while (cursor < page_count) {
        const uint64_t before = cursor;
        const size_t n = list.ranges(cursor, out, word_budget);
        if (cursor <= before || cursor > page_count || n > out_size)
            BOOST_FAIL("cursor " << before << " -> " << cursor);
        for (size_t i = 0; i < n; ++i) {
            const auto [first, count] = out[i];
            if (first < covered || count == 0 || count > page_count || first > page_count - count ||
                first + count > cursor)
                BOOST_FAIL("range " << first << "+" << count << " in " << before << ".." << cursor);
            covered = first + count;
            for (uint64_t page = first; page < covered; ++page)
                pages[page] = true;
        }
    }
    return pages;
}

}  // namespace

BOOST_AUTO_TEST_CASE(memory_layout_is_what_the_protocol_says) {
    constexpr uint64_t kPages = 300'000;
    test::Memory memory(DirtyList::bytes_needed(kPages));
    BOOST_TEST(memory.bytes().size() == 4096U + 4096U + 40'960U);
    DirtyList list(memory.bytes(), 0x1122334455ULL, kPages, 9);
    const auto bytes = list.memory();
    BOOST_TEST(word(bytes, 0) == 0x4c4147414e444c31U);
    BOOST_TEST(word(bytes, 8) == (4096ULL << 32 | 1U));  // version, page bytes
    BOOST_TEST(word(bytes, 16) == 0x1122334455U);
    BOOST_TEST(word(bytes, 24) == kPages);
    BOOST_TEST(word(bytes, 32) == 9U);     // epoch
    BOOST_TEST(word(bytes, 40) == 0U);     // cut number
    BOOST_TEST(word(bytes, 48) == 4096U);  // summary
    BOOST_TEST(word(bytes, 56) == 8192U);  // active

    list.mark(0);
    list.mark(4095);
    list.mark(4096);
    list.mark(kPages - 1);
    BOOST_TEST(word(bytes, 8192) == 1U);
    BOOST_TEST(word(bytes, 8192 + 63 * 8) == 1ULL << 63);
    BOOST_TEST(word(bytes, 8192 + 64 * 8) == 1U);
    BOOST_TEST(word(bytes, 8192 + 4687 * 8) == 1ULL << 31);
    BOOST_TEST(word(bytes, 4096) == 3U);
    BOOST_TEST(word(bytes, 4096 + 8) == 1ULL << (73 - 64));
    BOOST_TEST(list.count() == 4U);
    BOOST_TEST(list.is_marked(4095));
    BOOST_TEST(!list.is_marked(4094));
}

BOOST_AUTO_TEST_CASE(sizes_of_the_smallest_and_the_largest_region) {
    BOOST_TEST(DirtyList::bytes_needed(1) == 3U * 4096U);
    BOOST_TEST(DirtyList::bytes_needed(kMaxRegionPages) == 4096U + (1ULL << 20) / 8 + (1ULL << 32) / 8);
    test::Memory memory(DirtyList::bytes_needed(1));
    DirtyList list(memory.bytes(), 1, 1, 1);
    BOOST_TEST(list.count() == 0U);
    list.mark(0);
    BOOST_TEST(list.count() == 1U);
    std::array<DirtyList::Range, 1> out;
    uint64_t cursor = 0;
    BOOST_TEST(list.ranges(cursor, out, 1) == 1U);
    BOOST_TEST(cursor == 1U);
    BOOST_TEST(list.ranges(cursor, out, 1) == 0U);
    cursor = ~0ULL;  // from a hostile peer
    BOOST_TEST(list.ranges(cursor, out, 100) == 0U);
}

BOOST_AUTO_TEST_CASE(opens_its_own_memory_and_nothing_else) {
    test::Memory memory(DirtyList::bytes_needed(5000));
    DirtyList(memory.bytes(), 7, 5000, 1).mark(4999);
    const DirtyList again(memory.bytes(), 7, 5000, 2);
    BOOST_TEST(again.is_marked(4999));
    BOOST_TEST(word(again.memory(), 32) == 2U);
    BOOST_CHECK_THROW(DirtyList(memory.bytes(), 8, 5000, 1), std::runtime_error);
    BOOST_CHECK_THROW(DirtyList(memory.bytes(), 7, 4999, 1), std::runtime_error);
    BOOST_CHECK_THROW(DirtyList(memory.bytes(), 7, 0, 1), std::runtime_error);
    BOOST_CHECK_THROW(DirtyList(memory.bytes(), 7, kMaxRegionPages + 1, 1), std::runtime_error);
    BOOST_CHECK_THROW(DirtyList(memory.bytes().first(8192), 7, 5000, 1), std::runtime_error);
    memory.bytes()[0] = std::byte{0};
    BOOST_CHECK_THROW(DirtyList(memory.bytes(), 7, 5000, 1), std::runtime_error);
}

BOOST_AUTO_TEST_CASE(ranges_agree_with_a_plain_model) {
    std::mt19937_64 random(test::seed());
    for (const uint64_t page_count : {1ULL, 63ULL, 64ULL, 65ULL, 4095ULL, 4096ULL, 4097ULL, 12'345ULL,
                                      262'143ULL, 262'144ULL, 262'145ULL, 800'001ULL}) {
        test::Memory memory(DirtyList::bytes_needed(page_count));
        DirtyList list(memory.bytes(), 1, page_count, 1);
        std::vector<bool> model(page_count);
        for (int round = 0; round < 4; ++round) {
            for (int runs = 0; runs < 10; ++runs) {
                const uint64_t first = random() % page_count;
                const uint64_t length = std::min<uint64_t>(page_count - first, 1ULL << (random() % 14));
                for (uint64_t page = first; page < first + length; ++page) {
                    list.mark(page);
                    model[page] = true;
                }
            }
            if (round == 3) {  // all of it
                for (uint64_t page = 0; page < page_count; ++page)
                    list.mark(page);
                model.assign(page_count, true);
            }
            const auto dirty = static_cast<uint64_t>(std::count(model.begin(), model.end(), true));
            BOOST_TEST(list.count() == dirty);
            for (const size_t out : {1, 3, 1000})
                for (const uint32_t budget : {0U, 1U, 7U, 100U, ~0U})
                    if (collect(list, page_count, out, budget) != model)
                        BOOST_FAIL("ranges differ: " << page_count << " pages, " << out << " out, budget "
                                                     << budget);
        }
        std::vector<DirtyList::Range> out(4);
        uint64_t cursor = 0;
        BOOST_TEST(list.ranges(cursor, out, ~0U) == 1U);  // neighbours join
        BOOST_TEST(out[0].page_count == page_count);
    }
}

BOOST_AUTO_TEST_CASE(no_room_for_ranges_is_no_loop) {
    test::Memory memory(DirtyList::bytes_needed(1000));
    DirtyList list(memory.bytes(), 1, 1000, 1);
    list.mark(500);
    uint64_t cursor = 0;
    BOOST_TEST(list.ranges(cursor, {}, 1000) == 0U);
    BOOST_TEST(cursor == 500U);
}

// Whoever sees a page marked sees its summary bit too, also when another thread is in the middle of marking
// it.
BOOST_AUTO_TEST_CASE(a_marked_page_is_found_from_the_summary) {
    constexpr uint64_t kPages = 64 * kPagesPerSummaryBit;
    uint64_t missed = 0;
    for (int round = 0; round < 50; ++round) {
        test::Memory memory(DirtyList::bytes_needed(kPages));
        DirtyList list(memory.bytes(), 1, kPages, 1);
        std::jthread marker([&] {
            for (uint64_t page = 7; page < kPages; page += kPagesPerSummaryBit)
                list.mark(page);
        });
        for (uint64_t page = 7; page < kPages; page += kPagesPerSummaryBit) {
            while (!list.is_marked(page))
                std::this_thread::yield();
            uint64_t cursor = page / kPagesPerSummaryBit * kPagesPerSummaryBit;
            std::array<DirtyList::Range, 1> out;
            if (list.ranges(cursor, out, 66) != 1 || out[0].first_page != page) ++missed;
        }
    }
    BOOST_TEST(missed == 0U);
}
