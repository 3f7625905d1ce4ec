// SPDX-License-Identifier: BSD-3-Clause
// Frees in capsules: what is merged, and what a collected or sent free is in the way of.
#define BOOST_TEST_MODULE free_collector
#include <boost/test/unit_test.hpp>
#include <cstring>

#include "client/free_collector.h"
#include "datapath/capsule.h"

using namespace lagan;
using client::FreeCollector;

static std::vector<std::pair<uint64_t, uint64_t>> ranges_of(const FreeCollector& frees) {
    const std::vector<std::byte> message = frees.capsule();
    const auto& header = *reinterpret_cast<const capsule::Header*>(message.data());
    const auto* ranges = reinterpret_cast<const capsule::PageRange*>(&header + 1);
    BOOST_TEST(message.size() == sizeof header + header.count * sizeof *ranges);
    std::vector<std::pair<uint64_t, uint64_t>> found;
    for (uint32_t i = 0; i < header.count; i++)
        found.emplace_back(ranges[i].first_page, ranges[i].page_count);
    return found;
}

BOOST_AUTO_TEST_CASE(neighbours_are_one_range) {
    FreeCollector frees;
    frees.add(1, 10, 5);
    frees.add(2, 15, 1);
    frees.add(3, 17, 2);
    const std::vector<std::pair<uint64_t, uint64_t>> expected = {{10, 6}, {17, 2}};
    BOOST_TEST((ranges_of(frees) == expected));
    BOOST_TEST(frees.conflicts(15, 1));
    BOOST_TEST(!frees.conflicts(16, 1));
}

BOOST_AUTO_TEST_CASE(all_of_the_largest_region) {
    constexpr uint64_t kPages = 1ULL << 32;
    constexpr uint32_t kAtOnce = 1U << 20;
    FreeCollector frees;
    for (uint64_t page = 0; page < kPages; page += kAtOnce)
        frees.add(page, page, kAtOnce);
    uint64_t next = 0;
    for (const auto& [first, count] : ranges_of(frees)) {
        BOOST_TEST(first == next);
        next += count;
    }
    BOOST_TEST(next == kPages);
    BOOST_TEST(frees.conflicts(0, 1));
    BOOST_TEST(frees.conflicts(kPages - 1, 1));
    frees.sent();
    BOOST_TEST(frees.conflicts(kPages / 2, 1));
    BOOST_TEST(frees.answered(1).size() == kPages / kAtOnce);
    BOOST_TEST(!frees.conflicts(0, kPages));
}
