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

struct TestList {
    explicit TestList(uint64_t pages)
        : memory(DirtyList::summary_bytes(pages) + DirtyList::bitmap_bytes(pages)),
          list(memory.bytes().data(), memory.bytes().data() + DirtyList::summary_bytes(pages), pages) {}
    test::Memory memory;
    DirtyList list;
};

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

BOOST_AUTO_TEST_CASE(sizes_of_the_smallest_and_the_largest_region) {
    BOOST_TEST(DirtyList::summary_bytes(1) == 4096U);
    BOOST_TEST(DirtyList::bitmap_bytes(1) == 4096U);
    BOOST_TEST(DirtyList::summary_bytes(kMaxRegionPages) == (1ULL << 20) / 8);
    BOOST_TEST(DirtyList::bitmap_bytes(kMaxRegionPages) == (1ULL << 32) / 8);
    TestList made(1);
    DirtyList& list = made.list;
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

BOOST_AUTO_TEST_CASE(lists_are_added_cleared_and_found_again) {
    constexpr uint64_t kPages = 600'000;
    std::mt19937_64 random(test::seed());
    TestList one(kPages), other(kPages);
    std::vector<bool> both(kPages);
    for (int i = 0; i < 5000; ++i) {
        const uint64_t page = random() % kPages;
        (i % 2 == 0 ? one : other).list.mark(page);
        both[page] = true;
    }
    one.list.add(other.list);
    BOOST_TEST((collect(one.list, kPages, 100, ~0U) == both));
    BOOST_TEST(one.list.count() == static_cast<uint64_t>(std::count(both.begin(), both.end(), true)));
    const DirtyList again(one.memory.bytes().data(),
                          one.memory.bytes().data() + DirtyList::summary_bytes(kPages), kPages);
    BOOST_TEST(again.count() == one.list.count());
    one.list.clear();
    BOOST_TEST(one.list.count() == 0U);
    for (const std::byte byte : one.memory.bytes())
        if (byte != std::byte{0}) BOOST_FAIL("clear() left a bit");
}

BOOST_AUTO_TEST_CASE(ranges_agree_with_a_plain_model) {
    std::mt19937_64 random(test::seed());
    for (const uint64_t page_count : {1ULL, 63ULL, 64ULL, 65ULL, 4095ULL, 4096ULL, 4097ULL, 12'345ULL,
                                      262'143ULL, 262'144ULL, 262'145ULL, 800'001ULL}) {
        TestList made(page_count);
        DirtyList& list = made.list;
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
    TestList made(1000);
    DirtyList& list = made.list;
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
        TestList made(kPages);
        DirtyList& list = made.list;
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
