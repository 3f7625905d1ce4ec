// SPDX-License-Identifier: BSD-3-Clause
#define BOOST_TEST_MODULE scrubber
#include "datapath/scrubber.h"

#include <atomic>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>
#include <set>
#include <thread>

#include "datapath/frame_check.h"
#include "tests/unit/region_fixture.h"

using namespace lagan;
using namespace lagan::memory;
using test::Eal;
using test::RegionNode;
namespace data = boost::unit_test::data;

BOOST_TEST_GLOBAL_FIXTURE(Eal);

namespace {

using Outcome = Scrubber::Outcome;
constexpr uint64_t kFrameBytes = 32ULL << 20;
constexpr uint64_t kHz = 1'000'000'000;
constexpr Scrubber::Share kAlone{.pages_per_second = kHz, .tsc_hz = kHz};

struct Seen {
    uint64_t pages = 0;
    std::set<uint64_t> damaged;
    uint64_t steps = 0;
};

// Until the end of everything.
Seen go_round(Scrubber& scrubber) {
    Seen seen;
    for (;;) {
        const Scrubber::Step step = scrubber.step(++seen.steps);
        if (step.outcome == Outcome::round) return seen;
        if (step.outcome == Outcome::intact) seen.pages++;
        if (step.outcome == Outcome::damaged) BOOST_TEST(seen.damaged.insert(step.page).second);
    }
}

struct Fixture {
    explicit Fixture(uint64_t pages = 3000)
        : scratch("scrubber_test"),
          node(scratch.path, kFrameBytes),
          region(node.table.create("r", pages * kPageBytes, 0, false)),
          retire(node.pool, node.rcu.get(), 4096) {}

    void store(uint64_t page, uint64_t word) { BOOST_REQUIRE(node.store(retire, region, page, word)); }
    FrameIndex frame_of(uint64_t page) const { return pte_frame(region.page_table[page].load()); }
    bool is_poisoned(uint64_t page) const { return (region.page_table[page].load() & kPtePoisoned) != 0; }
    void flip_bit(uint64_t page, uint64_t bit) {
        node.pool.data(frame_of(page))[bit / 8] ^= std::byte(1U << bit % 8);
    }

    test::ScratchArena scratch;
    RegionNode node;
    Region& region;
    RetireQueue retire;
};

}  // namespace

BOOST_AUTO_TEST_CASE(a_flipped_bit_is_found_in_one_round_and_nothing_else_is_touched) {
    Fixture f;
    std::mt19937_64 random(test::seed());
    std::set<uint64_t> stored, spoiled;
    for (int i = 0; i < 1500; ++i) {
        const uint64_t page = random() % f.region.page_count;
        f.store(page, random() | 1);
        stored.insert(page);
    }
    f.retire.reclaim(4096);
    Scrubber scrubber(f.node.rkeys, f.node.pool, kAlone);
    const Seen before = go_round(scrubber);
    BOOST_TEST(before.pages == stored.size());
    BOOST_TEST(before.damaged.empty());

    for (const uint64_t page : stored)
        if (random() % 50 == 0) spoiled.insert(page);
    spoiled.insert(*stored.begin());
    spoiled.insert(*stored.rbegin());
    for (const uint64_t page : spoiled)
        f.flip_bit(page, random() % (kPageBytes * 8));
    const Seen found = go_round(scrubber);
    BOOST_TEST(found.damaged == spoiled);
    BOOST_TEST(found.pages == stored.size() - spoiled.size());
    for (uint64_t page = 0; page < f.region.page_count; ++page)
        BOOST_REQUIRE(f.is_poisoned(page) == spoiled.contains(page));
    BOOST_TEST(f.region.damaged.load() == spoiled.size());
    BOOST_TEST(f.region.present.load() == stored.size());
    BOOST_TEST(go_round(scrubber).damaged.empty());  // told once
}

BOOST_AUTO_TEST_CASE(damaged_metadata_counts_as_well) {
    Fixture f;
    for (uint64_t page = 0; page < 3; ++page)
        f.store(page, 7);
    f.node.pool.meta(f.frame_of(0)).block_crc[2] ^= 0x100;
    f.node.pool.meta(f.frame_of(1)).page_crc ^= 1;
    Scrubber scrubber(f.node.rkeys, f.node.pool, kAlone);
    BOOST_TEST(go_round(scrubber).damaged == (std::set<uint64_t>{0, 1}));
}

BOOST_AUTO_TEST_CASE(a_store_or_a_free_mends_a_page) {
    Fixture f;
    for (uint64_t page = 0; page < 4; ++page)
        f.store(page, 7);
    for (uint64_t page = 0; page < 3; ++page)
        f.flip_bit(page, 12345);
    Scrubber scrubber(f.node.rkeys, f.node.pool, kAlone);
    BOOST_TEST(go_round(scrubber).damaged.size() == 3U);
    f.store(0, 8);
    BOOST_TEST(clear_page(f.region, f.retire, f.node.table.budget(), 1));
    BOOST_TEST(f.region.damaged.load() == 1U);
    BOOST_TEST(!f.is_poisoned(0));
    BOOST_TEST(f.node.load(f.region, 0) == 8U);
    BOOST_TEST(f.is_poisoned(2));
    const Seen after = go_round(scrubber);
    BOOST_TEST(after.pages == 2U);
    BOOST_TEST(after.damaged.empty());
}

BOOST_AUTO_TEST_CASE(damaged_pages_are_counted_again_after_a_restart) {
    const test::ScratchArena scratch("scrubber_restart_test");
    {
        RegionNode node(scratch.path, kFrameBytes);
        Region& region = node.table.create("r", 100 * kPageBytes, 0, false);
        RetireQueue retire(node.pool, node.rcu.get(), 64);
        for (uint64_t page = 0; page < 10; ++page)
            BOOST_REQUIRE(node.store(retire, region, page, 1));
        BOOST_TEST(poison_page(region, 3, pte_frame(region.page_table[3].load())));
        BOOST_TEST(!poison_page(region, 4, pte_frame(region.page_table[5].load())));
        BOOST_TEST(region.damaged.load() == 1U);
    }
    RegionNode node(scratch.path, kFrameBytes);
    BOOST_TEST(node.table.find("r")->damaged.load() == 1U);
}

BOOST_DATA_TEST_CASE(engines_share_the_work, data::make({1U, 2U, 3U, 7U}), engines) {
    Fixture f(3 * 512 + 100);
    Region& small = f.node.table.create("small", 5 * kPageBytes, 0, false);
    for (uint64_t page = 0; page < f.region.page_count; ++page)
        f.store(page, page + 1);
    for (uint64_t page = 0; page < small.page_count; ++page)
        BOOST_REQUIRE(f.node.store(f.retire, small, page, page + 1));
    uint64_t pages = 0;
    for (uint32_t index = 0; index < engines; ++index) {
        Scrubber scrubber(f.node.rkeys, f.node.pool,
                          {.index = index, .engines = engines, .pages_per_second = kHz, .tsc_hz = kHz});
        pages += go_round(scrubber).pages;
    }
    BOOST_TEST(pages == f.region.page_count + small.page_count);
}

BOOST_AUTO_TEST_CASE(the_rate_is_kept) {
    Fixture f;
    for (uint64_t page = 0; page < f.region.page_count; ++page)
        f.store(page, 1);
    // Two engines at 2000 pages a second: 1000 steps a second for each, whatever the polls between them.
    Scrubber scrubber(f.node.rkeys, f.node.pool,
                      {.index = 0, .engines = 2, .pages_per_second = 2000, .tsc_hz = kHz});
    const auto steps_in = [&](uint64_t from, uint64_t until, uint64_t poll) {
        uint64_t steps = 0;
        for (uint64_t now = from; now < until; now += poll)
            if (scrubber.due(now)) {
                scrubber.step(now);
                ++steps;
            }
        return steps;
    };
    const uint64_t often = steps_in(kHz, 2 * kHz, 100);
    BOOST_TEST(often >= 1000U);
    BOOST_TEST(often <= 1010U);
    // A sleep longer than the interval: one step per poll, no more.
    BOOST_TEST(steps_in(2 * kHz, 3 * kHz, kHz / 100) == 100U);
    // After long work what was missed is not made up for.
    const uint64_t after_work = steps_in(100 * kHz, 101 * kHz, 100);
    BOOST_TEST(after_work >= 1000U);
    BOOST_TEST(after_work <= 1010U);
}

BOOST_AUTO_TEST_CASE(a_step_is_bounded_and_an_empty_table_no_endless_loop) {
    Fixture f(1);
    Region& large = f.node.table.create("large", (1ULL << 20) * kPageBytes, 0, true);
    BOOST_REQUIRE(f.node.store(f.retire, large, (1U << 20) - 1, 1));
    Scrubber scrubber(f.node.rkeys, f.node.pool, kAlone);
    const Seen seen = go_round(scrubber);
    BOOST_TEST(seen.pages == 1U);
    BOOST_TEST(seen.steps > (1U << 20) / 512);
    BOOST_TEST(seen.steps < (1U << 20) / 512 + 20);
}

BOOST_AUTO_TEST_CASE(a_region_that_goes_in_the_middle_of_a_round) {
    Fixture f;
    Region& other = f.node.table.create("other", 700 * kPageBytes, 0, false);
    for (uint64_t page = 0; page < other.page_count; ++page)
        BOOST_REQUIRE(f.node.store(f.retire, other, page, 1));
    for (uint64_t page = 0; page < 100; ++page)
        f.store(page, 1);
    Scrubber scrubber(f.node.rkeys, f.node.pool, kAlone);
    uint64_t now = 0;
    for (int i = 0; i < 120; ++i)
        scrubber.step(++now);
    f.node.table.destroy(other);
    go_round(scrubber);
    BOOST_TEST(go_round(scrubber).pages == 100U);
}

// Frames are reused at once by three writers: whatever the scrubber compares is constant while it does so.
BOOST_AUTO_TEST_CASE(pages_that_change_at_the_same_time_are_never_poisoned) {
    Fixture f(300);
    const uint64_t seed = test::seed();
    std::atomic<bool> stop{false};
    std::atomic<uint64_t> stores{0};
    std::vector<std::jthread> writers;
    for (unsigned id = 1; id <= 3; ++id)
        writers.emplace_back([&, id] {
            const test::Lcore lcore;
            f.node.rcu.online(id);
            {
                RetireQueue retire(f.node.pool, f.node.rcu.get(), 64);
                std::mt19937_64 random(seed + id);
                while (!stop) {
                    const uint64_t page = random() % f.region.page_count;
                    if (random() % 8 == 0) {
                        clear_page(f.region, retire, f.node.table.budget(), page);
                    } else if (f.node.store(retire, f.region, page, random() | 1)) {
                        ++stores;
                    }
                    f.node.rcu.quiescent(id);
                    retire.reclaim(64);
                    while (retire.room() < 2 && !stop) {
                        f.node.rcu.quiescent(id);
                        retire.reclaim(64);
                    }
                }
                while (retire.pending() != 0) {
                    f.node.rcu.quiescent(id);
                    retire.reclaim(64);
                    if (stop) break;
                }
            }
            f.node.rcu.offline(id);
        });
    Scrubber scrubber(f.node.rkeys, f.node.pool, kAlone);
    f.node.rcu.online(0);
    uint64_t now = 0, verified = 0, damaged = 0;
    while (verified < 200'000 || stores < 100'000) {
        const Scrubber::Step step = scrubber.step(++now);
        verified += step.outcome == Outcome::intact;
        damaged += step.outcome == Outcome::damaged;
        f.node.rcu.quiescent(0);
    }
    f.node.rcu.offline(0);
    stop = true;
    writers.clear();
    BOOST_TEST(damaged == 0U);
    BOOST_TEST(f.region.damaged.load() == 0U);
}
