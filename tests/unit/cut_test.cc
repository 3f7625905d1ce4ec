// SPDX-License-Identifier: BSD-3-Clause
#define BOOST_TEST_MODULE cut
#include "datapath/memory/cut.h"

#include <array>
#include <atomic>
#include <boost/test/unit_test.hpp>
#include <map>
#include <thread>

#include "tests/unit/region_fixture.h"

using namespace lagan;
using namespace lagan::memory;
using Kind = Cut::Content::Kind;
using CutEnd = RegionTable::CutEnd;
using test::Eal;

BOOST_TEST_GLOBAL_FIXTURE(Eal);

namespace {

constexpr uint64_t kFrameBytes = 16ULL << 20;
constexpr uint64_t kCutFrames = 64;
constexpr uint32_t kInFlight = 16;

struct Bench {
    explicit Bench(uint64_t pages = 100, uint64_t cut_frames = kCutFrames)
        : scratch("cut_test"),
          node(scratch.path, kFrameBytes, cut_frames),
          retire(node.pool, node.rcu.get(), 1024),
          region(node.table.create("r", pages * kPageBytes, 0, false)),
          unclaimed(node.table.budget().unclaimed()) {}
    bool store(uint64_t page, uint64_t word) { return node.store(retire, region, page, word); }
    void clear(uint64_t page) { clear_page(region, retire, node.table.budget(), page); }
    // What the cut has of a page: the word, 0 for absent, ~0 for damaged.
    uint64_t take(Cut& cut, uint64_t page) {
        const Cut::Content content = cut.take(region.page_table[page], page);
        const uint64_t word = content.kind == Kind::frame    ? node.word_of(content.frame)
                              : content.kind == Kind::absent ? 0
                                                             : ~0ULL;
        cut.release(content);
        return word;
    }
    // Everything that is not in the page table is free again.
    void check_nothing_is_lost() {
        retire.reclaim(1024);
        BOOST_TEST(node.pool.free_count() + region.present.load() == node.pool.capacity());
        BOOST_TEST(node.table.budget().unclaimed() == unclaimed);
    }
    test::ScratchArena scratch;
    test::RegionNode node;
    RetireQueue retire;
    Region& region;
    uint64_t unclaimed;
};

}  // namespace

BOOST_AUTO_TEST_CASE(pages_are_as_they_were_at_the_cut) {
    Bench b;
    for (const uint64_t page : {1, 2, 3, 4, 5, 6})
        b.store(page, page * 10);
    b.clear(6);
    b.region.page_table[5].fetch_or(kPtePoisoned);
    Cut& cut = b.node.table.begin_cut(b.region, kInFlight);
    BOOST_TEST(b.region.dirty->cut_number() == 1U);
    BOOST_TEST(b.region.dirty->drain().count() == 6U);
    BOOST_TEST(b.region.active().count() == 0U);
    b.store(2, 21);
    b.store(2, 22);
    b.clear(3);
    b.store(5, 51);
    b.store(6, 61);
    b.store(50, 500);  // was clean: nothing to keep
    for (const auto& [page, word] :
         std::map<uint64_t, uint64_t>{{1, 10}, {2, 20}, {3, 30}, {4, 40}, {5, ~0ULL}, {6, 0}})
        BOOST_TEST(b.take(cut, page) == word, "page " << page);
    b.store(4, 41);  // taken already: its frame goes at once
    BOOST_TEST(!cut.broken());
    BOOST_TEST(b.region.active().count() == 6U);
    b.node.table.end_cut(b.region, CutEnd::durable);
    BOOST_TEST(b.region.dirty->durable_cut() == 1U);
    BOOST_TEST(b.region.dirty->drain().count() == 0U);
    for (const uint64_t page : {2, 3, 4, 5, 6, 50})
        BOOST_TEST(b.region.active().is_marked(page));
    BOOST_TEST(!b.region.active().is_marked(1));
    b.check_nothing_is_lost();
}

BOOST_AUTO_TEST_CASE(a_cut_that_is_given_up_leaves_its_pages_dirty) {
    Bench b;
    b.store(1, 10);
    b.store(2, 20);
    Cut& cut = b.node.table.begin_cut(b.region, kInFlight);
    b.store(2, 21);
    b.store(3, 30);
    BOOST_TEST(b.take(cut, 1) == 10U);
    b.node.table.end_cut(b.region, CutEnd::given_up);
    BOOST_TEST(b.region.dirty->durable_cut() == 0U);
    BOOST_TEST(b.region.dirty->drain().count() == 0U);
    BOOST_TEST(b.region.active().count() == 3U);
    b.check_nothing_is_lost();
    // The next cut has it all.
    Cut& next = b.node.table.begin_cut(b.region, kInFlight);
    BOOST_TEST(b.take(next, 2) == 21U);
    b.node.table.end_cut(b.region, CutEnd::durable);
    BOOST_TEST(b.region.dirty->durable_cut() == 2U);
    BOOST_TEST(b.region.active().count() == 0U);
    b.check_nothing_is_lost();
}

BOOST_AUTO_TEST_CASE(a_store_goes_on_when_its_old_page_cannot_be_kept) {
    Bench b(2000);
    for (uint64_t page = 0; page < 1900; ++page)
        BOOST_REQUIRE(b.store(page, page + 1));
    Region& filler = b.node.table.create("filler", b.node.table.budget().unclaimed() * kPageBytes, 0, false);
    BOOST_TEST(b.node.table.budget().unclaimed() == 0U);
    Cut& cut = b.node.table.begin_cut(b.region, kInFlight);
    for (uint64_t page = 0; page < 1900; ++page) {
        BOOST_REQUIRE(b.store(page, page + 10'000));
        b.retire.reclaim(1024);
        BOOST_TEST(cut.broken() == (page >= kCutFrames - kInFlight));
    }
    b.node.table.end_cut(b.region, CutEnd::given_up);
    BOOST_TEST(b.region.active().count() == 1900U);
    for (uint64_t page = 0; page < 1900; ++page)
        BOOST_REQUIRE(b.node.load(b.region, page) == page + 10'000);
    b.node.table.destroy(filler);
    b.check_nothing_is_lost();
    // No room even for what is in flight: no cut begins, and nothing has changed.
    const uint64_t left = b.unclaimed + kCutFrames;
    BOOST_REQUIRE(b.node.table.budget().take_for_cut(left, 0));
    BOOST_CHECK_THROW(b.node.table.begin_cut(b.region, kInFlight), std::runtime_error);
    BOOST_TEST(b.region.active().count() == 1900U);
    b.node.table.budget().give_for_cut(left);
}

BOOST_AUTO_TEST_CASE(a_cut_leaves_half_of_what_is_unclaimed_to_regions) {
    Bench b(2000);
    for (uint64_t page = 0; page < 1900; ++page)
        BOOST_REQUIRE(b.store(page, page + 1));
    FrameBudget& budget = b.node.table.budget();
    Region& filler = b.node.table.create("filler", (budget.unclaimed() - 200) * kPageBytes, 0, false);
    Region& thin = b.node.table.create("thin", 1000 * kPageBytes, 0, true);
    Cut& cut = b.node.table.begin_cut(b.region, kInFlight);
    for (uint64_t page = 0; page < 1900; ++page) {
        BOOST_REQUIRE(b.store(page, page + 10'000));
        b.retire.reclaim(1024);
    }
    BOOST_TEST(cut.broken());
    BOOST_TEST(budget.unclaimed() == 100U);
    for (uint64_t page = 0; page < 100; ++page)
        BOOST_REQUIRE(b.node.store(b.retire, thin, page, page + 1));
    BOOST_TEST(budget.unclaimed() == 0U);
    b.node.table.end_cut(b.region, CutEnd::given_up);
    b.node.table.destroy(thin);
    b.node.table.destroy(filler);
    b.check_nothing_is_lost();
}

// Two writers store numbered pages, each number remembered as acknowledged afterwards, with the other's
// newest acknowledged number in the page. A checkpoint cuts again and again. What all cuts so far add up to
// must be a state that the region was in: of each writer all numbers up to some one, that one not older than
// what it had acknowledged when the cut began, and no page that has seen a number which is not there.
BOOST_AUTO_TEST_CASE(every_cut_is_one_moment) {
    constexpr uint64_t kPagesEach = 300;
    constexpr unsigned kWriters = 2;
    constexpr auto kDuration = std::chrono::milliseconds(2000);
    const uint64_t base = test::seed();
    Bench b(kPagesEach * kWriters, 1500);
    std::array<std::atomic<uint64_t>, kWriters> acknowledged{};
    std::atomic<bool> stop{false};
    for (unsigned id = 0; id <= kWriters; ++id)
        b.node.rcu.online(id);
    b.node.rcu.offline(kWriters);
    std::atomic<uint64_t> refused{0};
    const auto writer = [&](unsigned id) {
        const test::Lcore lcore;
        std::mt19937_64 random(base + id);
        RetireQueue retire(b.node.pool, b.node.rcu.get(), 512);
        for (uint64_t number = 1; !stop.load(std::memory_order_relaxed);) {
            if (retire.room() != 0) {
                const uint64_t page = id * kPagesEach + number % kPagesEach;
                const uint64_t seen = acknowledged[1 - id].load();
                if (!b.node.store(retire, b.region, page, number << 32 | seen)) ++refused;
                acknowledged[id].store(number++);
            }
            retire.reclaim(32);
            b.node.rcu.quiescent(id);
            if (random() % 64 == 0) std::this_thread::yield();
        }
        while (retire.pending() != 0) {
            b.node.rcu.quiescent(id);
            retire.reclaim(32);
            std::this_thread::yield();
        }
        b.node.rcu.offline(id);
    };
    uint64_t cuts = 0, broken = 0, kept = 0;
    {
        std::vector<std::jthread> threads;
        for (unsigned id = 0; id < kWriters; ++id)
            threads.emplace_back(writer, id);
        const auto end = std::chrono::steady_clock::now() + kDuration;
        std::vector<uint64_t> baseline(kPagesEach * kWriters);
        while (std::chrono::steady_clock::now() < end) {
            const std::array<uint64_t, kWriters> before{acknowledged[0].load(), acknowledged[1].load()};
            Cut& cut = b.node.table.begin_cut(b.region, kInFlight);
            std::vector<uint64_t> changed = baseline;
            b.node.rcu.online(kWriters);
            for (uint64_t page = 0; page < baseline.size(); ++page) {
                if (!b.region.dirty->drain().is_marked(page)) continue;
                const Cut::Content content = cut.take(b.region.page_table[page], page);
                changed[page] = content.kind == Kind::frame ? b.node.word_of(content.frame) : 0;
                kept += content.was_kept ? 1 : 0;
                cut.release(content);
                b.node.rcu.quiescent(kWriters);
            }
            b.node.rcu.offline(kWriters);
            const bool whole = !cut.broken();
            b.node.table.end_cut(b.region, whole ? CutEnd::durable : CutEnd::given_up);
            if (!whole) {
                ++broken;
                continue;
            }
            baseline = changed;
            ++cuts;
            std::array<uint64_t, kWriters> newest{}, seen{};
            for (uint64_t page = 0; page < baseline.size(); ++page) {
                const uint64_t id = page / kPagesEach;
                newest[id] = std::max(newest[id], baseline[page] >> 32);
                seen[1 - id] = std::max(seen[1 - id], baseline[page] & 0xffffffff);
            }
            for (uint64_t id = 0; id < kWriters; ++id) {
                BOOST_REQUIRE(newest[id] >= before[id]);
                BOOST_REQUIRE(newest[id] >= seen[id]);
                for (uint64_t page = 0; page < kPagesEach; ++page) {
                    const uint64_t behind = (newest[id] + kPagesEach - page) % kPagesEach;
                    const uint64_t wanted =
                        newest[id] < behind || newest[id] == behind ? 0 : newest[id] - behind;
                    BOOST_REQUIRE_MESSAGE(baseline[id * kPagesEach + page] >> 32 == wanted,
                                          "writer " << id << " page " << page << " has "
                                                    << (baseline[id * kPagesEach + page] >> 32) << ", not "
                                                    << wanted);
                }
            }
        }
        stop = true;
    }
    BOOST_TEST_MESSAGE(cuts << " cuts, " << broken << " broken, " << kept << " pages kept, "
                            << acknowledged[0] + acknowledged[1] << " stores");
    BOOST_TEST(refused.load() == 0U);
    BOOST_TEST(cuts > 10U);
    BOOST_TEST(kept > 0U);
    b.check_nothing_is_lost();
}
