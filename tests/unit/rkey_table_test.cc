// SPDX-License-Identifier: BSD-3-Clause
#define BOOST_TEST_MODULE rkey_table
#include "datapath/memory/rkey_table.h"

#include <boost/test/unit_test.hpp>
#include <limits>
#include <map>
#include <set>
#include <stdexcept>
#include <vector>

#include "tests/unit/memory_fixture.h"

using namespace lagan;
using namespace lagan::memory;

namespace {

MemoryRegion flat(uint32_t region_id, uint64_t length) {
    return {MemoryRegion::Kind::flat, kAccessRead, 0, region_id, length, nullptr, nullptr};
}

}  // namespace

BOOST_AUTO_TEST_CASE(in_range_for_every_small_case_and_at_the_edges) {
    for (uint64_t length = 0; length < 6; ++length)
        for (uint64_t va = 0; va < 8; ++va)
            for (uint64_t n = 0; n < 8; ++n)
                BOOST_TEST(in_range(flat(1, length), va, n) == (va + n <= length));
    constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();
    const MemoryRegion entry = flat(1, 1ULL << 44);
    BOOST_TEST(in_range(entry, 0, 1ULL << 44));
    BOOST_TEST(in_range(entry, 1ULL << 44, 0));
    BOOST_TEST(!in_range(entry, (1ULL << 44) + 1, 0));
    BOOST_TEST(!in_range(entry, (1ULL << 44) - 1, 2));
    BOOST_TEST(!in_range(entry, kMax, 1));
    BOOST_TEST(!in_range(entry, kMax, 2));
    BOOST_TEST(!in_range(entry, 1, kMax));
    BOOST_TEST(!in_range(entry, kMax - 4095, 8192));
    BOOST_TEST(in_range(flat(1, kMax), kMax, 0));
    BOOST_TEST(!in_range(flat(1, kMax), kMax, 1));
}

BOOST_AUTO_TEST_CASE(keys_are_found_until_removed) {
    RkeyTable table(100);
    const uint32_t a = table.add(flat(1, 10));
    const uint32_t b = table.add(flat(2, 20));
    BOOST_TEST(a != 0U);
    BOOST_TEST(a != b);
    BOOST_REQUIRE(table.find(a) != nullptr);
    BOOST_TEST(table.find(a)->length == 10U);
    BOOST_TEST(table.find(a)->rkey == a);
    BOOST_TEST(table.find(b)->region_id == 2U);
    BOOST_TEST(table.find(0) == nullptr);
    BOOST_TEST(table.find(a ^ 0x80000000U) == nullptr);  // right slot, wrong random bits
    BOOST_TEST(table.find(a ^ 0x00000080U) == nullptr);

    const MemoryRegion* held = table.find(a);
    table.remove(a);
    BOOST_TEST(table.find(a) == nullptr);
    BOOST_TEST(held->length == 10U);  // good until the grace period is over
    BOOST_CHECK_THROW(table.add(flat(3, 30), a), std::runtime_error);
    table.recycle(a);
    BOOST_TEST(table.add(flat(3, 30), a) == a);
    BOOST_TEST(table.find(a)->length == 30U);
}

BOOST_AUTO_TEST_CASE(unknown_and_repeated_removals_do_nothing) {
    RkeyTable table(4);
    const uint32_t key = table.add(flat(1, 10));
    table.remove(key ^ 0x80000000U);
    table.recycle(key);  // still in use
    table.remove(0);
    table.recycle(0);
    BOOST_TEST(table.find(key) != nullptr);
    table.remove(key);
    table.remove(key);
    table.recycle(key);
    table.recycle(key);
    BOOST_TEST(table.find(key) == nullptr);
}

BOOST_AUTO_TEST_CASE(a_full_table_says_so) {
    RkeyTable table(3);  // rounded up to 4
    std::set<uint32_t> keys;
    for (int i = 0; i < 4; ++i)
        keys.insert(table.add(flat(1, 1)));
    BOOST_TEST(keys.size() == 4U);
    BOOST_CHECK_THROW(table.add(flat(1, 1)), std::runtime_error);
    table.remove(*keys.begin());
    BOOST_CHECK_THROW(table.add(flat(1, 1)), std::runtime_error);
    table.recycle(*keys.begin());
    BOOST_TEST(table.add(flat(1, 1)) != *keys.begin());  // same slot, but never the same key again

    BOOST_CHECK_THROW(RkeyTable(0), std::invalid_argument);
    BOOST_CHECK_THROW(RkeyTable((1U << 20) + 1), std::invalid_argument);
    RkeyTable one(1);
    for (int i = 0; i < 100; ++i) {
        const uint32_t key = one.add(flat(1, 1));
        BOOST_TEST(key != 0U);
        one.remove(key);
        one.recycle(key);
    }
}

BOOST_AUTO_TEST_CASE(random_sequences_agree_with_a_map) {
    std::mt19937_64 random(test::seed());
    RkeyTable table(64);
    std::map<uint32_t, uint64_t> model;
    std::vector<uint32_t> removed, ever;
    for (int step = 0; step < 20'000; ++step) {
        const uint64_t what = random() % 4;
        if (what == 0 && model.size() + removed.size() < 64) {
            const uint32_t key = table.add(flat(1, random()));
            BOOST_REQUIRE(!model.contains(key));
            model[key] = table.find(key)->length;
            ever.push_back(key);
        } else if (what == 1 && !model.empty()) {
            const auto it = std::next(model.begin(), static_cast<std::ptrdiff_t>(random() % model.size()));
            table.remove(it->first);
            removed.push_back(it->first);
            model.erase(it);
        } else if (what == 2 && !removed.empty()) {
            table.recycle(removed.back());
            removed.pop_back();
        } else if (!ever.empty()) {
            const uint32_t key = ever[random() % ever.size()];
            const MemoryRegion* found = table.find(key);
            BOOST_REQUIRE((found != nullptr) == model.contains(key));
            if (found != nullptr) BOOST_REQUIRE(found->length == model[key]);
        }
    }
}
