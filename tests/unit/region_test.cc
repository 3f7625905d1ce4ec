// SPDX-License-Identifier: BSD-3-Clause
#define BOOST_TEST_MODULE region
#include "datapath/memory/region.h"

#include <array>
#include <atomic>
#include <boost/test/unit_test.hpp>
#include <map>
#include <thread>

#include "datapath/memory/frame_budget.h"
#include "datapath/memory/retire_queue.h"
#include "tests/unit/memory_fixture.h"

using namespace lagan;
using namespace lagan::memory;
using test::Eal;

BOOST_TEST_GLOBAL_FIXTURE(Eal);

namespace {

// A region with its memory, without an arena.
struct TestRegion {
    TestRegion(uint32_t id, uint64_t pages, uint64_t reserve)
        : table(pages),
          dirty_memory(DirtyMemory::bytes_needed(pages)),
          dirty(dirty_memory.bytes(), {.region_id = id, .region_uid = id, .page_count = pages, .epoch = 1}),
          list(dirty.active()),
          phase{.active = &list, .cut = nullptr} {
        region.id = id;
        region.page_count = pages;
        region.size_bytes = pages * kPageBytes;
        region.reserve_pages = reserve;
        region.page_table = table.data();
        region.dirty = &dirty;
        region.phase = &phase;
    }
    bool presence_agrees() const {
        for (uint64_t page = 0; page < region.page_count; ++page)
            if ((dirty.present()[page / 64].load() >> (page % 64) & 1) != (table[page].load() != kAbsent))
                return false;
        return true;
    }
    std::vector<std::atomic<Pte>> table;
    test::Memory dirty_memory;
    DirtyMemory dirty;
    DirtyList& list;
    Phase phase;
    Region region{};
};

// A page's bytes are 512 times the same word: which page, which store.
using Tag = uint64_t;
constexpr Tag make_tag(uint64_t page, uint64_t version) {
    return page << 32 | (version & 0xffffffff);
}

void fill(FramePool& pool, FrameIndex frame, Tag tag) {
    auto* words = reinterpret_cast<Tag*>(pool.data(frame));
    std::fill(words, words + kPageBytes / sizeof(Tag), tag);
}

// The tag, or 0 if the frame's words differ: somebody wrote to it.
Tag tag_of(FramePool& pool, FrameIndex frame) {
    const auto* words = reinterpret_cast<const Tag*>(pool.data(frame));
    for (size_t i = 1; i < kPageBytes / sizeof(Tag); ++i)
        if (words[i] != words[0]) return 0;
    return words[0];
}

struct Bench {
    explicit Bench(uint32_t frames, uint64_t usable)
        : m(frames), budget(usable), retire(m.pool, rcu.get(), 1024) {}
    PublishResult store(Region& region, uint64_t page, Tag tag, Pte& expected) {
        const FrameIndex frame = m.pool.allocate();
        BOOST_REQUIRE(frame != kNoFrame);
        fill(m.pool, frame, tag);
        const PublishResult result = publish_page(region, m.pool, retire, budget, page, frame, expected);
        if (result != PublishResult::published) m.pool.release(frame);
        return result;
    }
    PublishResult store(Region& region, uint64_t page, Tag tag) {
        Pte expected = region.page_table[page].load();
        return store(region, page, tag, expected);
    }
    test::PoolMemory m;
    test::Rcu rcu;
    FrameBudget budget;
    RetireQueue retire;
};

}  // namespace

BOOST_AUTO_TEST_CASE(page_table_entries) {
    static_assert(sizeof(Pte) == 8 && sizeof(std::atomic<Pte>) == 8);
    static_assert(make_pte(0) == 1 && pte_frame(make_pte(0)) == 0);
    static_assert(pte_frame(make_pte(0xfffffffe)) == 0xfffffffe);
    static_assert(pte_frame(make_pte(77) | kPtePoisoned) == 77);
    BOOST_TEST(kAbsent == 0U);  // so that zeroed memory is an empty table
}

BOOST_AUTO_TEST_CASE(a_store_publishes_marks_and_counts) {
    Bench b(64, 32);
    TestRegion r(9, 10, 10);
    BOOST_REQUIRE(b.budget.reserve(10));
    Pte expected = kAbsent;
    BOOST_TEST((b.store(r.region, 3, make_tag(3, 1), expected) == PublishResult::published));
    const FrameIndex frame = pte_frame(r.table[3].load());
    BOOST_TEST(tag_of(b.m.pool, frame) == make_tag(3, 1));
    BOOST_TEST(b.m.pool.meta(frame).region_id == 9U);
    BOOST_TEST(b.m.pool.meta(frame).page == 3U);
    BOOST_TEST(rte_mbuf_ext_refcnt_read(&b.m.pool.meta(frame).shinfo) == kPublishedRefs);
    BOOST_TEST(r.list.is_marked(3));
    BOOST_TEST(r.list.count() == 1U);
    BOOST_TEST(r.region.present.load() == 1U);
    BOOST_TEST(b.retire.pending() == 0U);

    // A second store replaces the frame and retires the first.
    BOOST_TEST((b.store(r.region, 3, make_tag(3, 2)) == PublishResult::published));
    BOOST_TEST(pte_frame(r.table[3].load()) != frame);
    BOOST_TEST(b.retire.pending() == 1U);
    BOOST_TEST(r.region.present.load() == 1U);
    b.retire.reclaim(10);
    BOOST_TEST(b.m.pool.free_count() == 63U);
}

BOOST_AUTO_TEST_CASE(whoever_is_late_learns_what_is_there) {
    Bench b(64, 32);
    TestRegion r(1, 10, 0);
    Pte stale = kAbsent;
    BOOST_TEST((b.store(r.region, 0, make_tag(0, 1)) == PublishResult::published));
    const Pte current = r.table[0].load();
    const uint64_t unclaimed = b.budget.unclaimed();
    BOOST_TEST((b.store(r.region, 0, make_tag(0, 2), stale) == PublishResult::changed));
    BOOST_TEST(stale == current);
    BOOST_TEST(r.table[0].load() == current);
    BOOST_TEST(r.region.present.load() == 1U);
    BOOST_TEST(b.budget.unclaimed() == unclaimed);
    BOOST_TEST(b.retire.pending() == 0U);
    // With what it has learned it succeeds; and the entry it built upon is now stale for the other.
    BOOST_TEST((b.store(r.region, 0, make_tag(0, 3), stale) == PublishResult::published));
    Pte older = current;
    BOOST_TEST((b.store(r.region, 0, make_tag(0, 4), older) == PublishResult::changed));
}

BOOST_AUTO_TEST_CASE(clearing_gives_the_frame_back) {
    Bench b(64, 32);
    TestRegion r(1, 10, 0);
    BOOST_TEST(!clear_page(r.region, b.retire, b.budget, 5));
    BOOST_TEST(!r.list.is_marked(5));  // it was zeros and still is
    b.store(r.region, 5, make_tag(5, 1));
    BOOST_TEST(b.budget.unclaimed() == 31U);
    BOOST_TEST(clear_page(r.region, b.retire, b.budget, 5));
    BOOST_TEST(r.table[5].load() == kAbsent);
    BOOST_TEST(r.list.is_marked(5));
    BOOST_TEST(r.region.present.load() == 0U);
    BOOST_TEST(b.budget.unclaimed() == 32U);
    b.retire.reclaim(1);
    BOOST_TEST(b.m.pool.free_count() == 64U);
}

BOOST_AUTO_TEST_CASE(poisoned_pages_can_be_replaced_and_cleared) {
    Bench b(64, 32);
    TestRegion r(1, 2, 0);
    for (const uint64_t page : {0ULL, 1ULL}) {
        b.store(r.region, page, make_tag(page, 1));
        r.table[page].fetch_or(kPtePoisoned);
    }
    BOOST_TEST((b.store(r.region, 0, make_tag(0, 2)) == PublishResult::published));
    BOOST_TEST((r.table[0].load() & kPtePoisoned) == 0U);
    BOOST_TEST(clear_page(r.region, b.retire, b.budget, 1));
    b.retire.reclaim(10);
    BOOST_TEST(b.m.pool.free_count() == 63U);
}

BOOST_AUTO_TEST_CASE(reserves_are_safe_and_running_out_is_an_answer) {
    Bench b(64, 20);
    TestRegion sure(1, 12, 12), thin(2, 100, 3);
    BOOST_REQUIRE(b.budget.reserve(12));
    BOOST_REQUIRE(b.budget.reserve(3));
    BOOST_TEST(!b.budget.reserve(6));
    BOOST_TEST(b.budget.unclaimed() == 5U);
    uint64_t page = 0;
    while (b.store(thin.region, page, make_tag(page, 1)) == PublishResult::published)
        ++page;
    BOOST_TEST(page == 8U);  // its reserve and all that nobody else has claim to
    BOOST_TEST((b.store(thin.region, page, make_tag(page, 1)) == PublishResult::no_frames));
    BOOST_TEST(thin.table[page].load() == kAbsent);
    BOOST_TEST(!thin.list.is_marked(page));
    BOOST_TEST(
        (b.store(thin.region, 0, make_tag(0, 2)) == PublishResult::published));  // takes no more than it has
    for (uint64_t p = 0; p < 12; ++p)
        BOOST_TEST((b.store(sure.region, p, make_tag(p, 1)) == PublishResult::published));
    clear_page(thin.region, b.retire, b.budget, 0);
    BOOST_TEST((b.store(thin.region, 50, make_tag(50, 1)) == PublishResult::published));
}

BOOST_AUTO_TEST_CASE(random_sequences_agree_with_a_map) {
    constexpr uint64_t kPages = 200;
    constexpr uint64_t kUsable = 120;
    std::mt19937_64 random(test::seed());
    Bench b(1400, kUsable);
    TestRegion r(1, kPages, 30);
    BOOST_REQUIRE(b.budget.reserve(30));
    std::map<uint64_t, Tag> model;
    std::vector<bool> dirty(kPages);
    for (uint64_t step = 1; step < 100'000; ++step) {
        const uint64_t page = random() % kPages;
        switch (random() % 4) {
            case 0:
                BOOST_REQUIRE(clear_page(r.region, b.retire, b.budget, page) == (model.erase(page) == 1));
                dirty[page] = dirty[page] || r.list.is_marked(page);
                break;
            case 1: {
                const Pte entry = r.table[page].load();
                BOOST_REQUIRE((entry != kAbsent) == model.contains(page));
                if (entry != kAbsent) BOOST_REQUIRE(tag_of(b.m.pool, pte_frame(entry)) == model[page]);
                break;
            }
            default: {
                const bool fits = model.contains(page) || model.size() < kUsable;
                const PublishResult result = b.store(r.region, page, make_tag(page, step));
                BOOST_REQUIRE((result == (fits ? PublishResult::published : PublishResult::no_frames)));
                if (fits) model[page] = make_tag(page, step);
                if (fits) BOOST_REQUIRE(r.list.is_marked(page));
            }
        }
        BOOST_REQUIRE(r.region.present.load() == model.size());
        if (b.retire.room() < 8 || random() % 8 == 0) b.retire.reclaim(1024);
    }
    b.retire.reclaim(1024);
    BOOST_TEST(r.presence_agrees());
    BOOST_TEST(b.m.pool.free_count() == 1400 - model.size());
    BOOST_TEST(b.budget.unclaimed() == kUsable - std::max<uint64_t>(30, model.size()));
}

// Writers store, clear and retire; readers hold references beyond the read-side section, as frames on their
// way to a port do. While a reference is held the frame's bytes stay the page's, and stay the same.
BOOST_AUTO_TEST_CASE(no_frame_changes_while_it_is_referenced) {
    constexpr uint64_t kPages = 16;
    constexpr uint32_t kFrames = 8192;
    constexpr unsigned kWriters = 2, kReaders = 2;
    constexpr auto kDuration = std::chrono::milliseconds(1500);
    const uint64_t base = test::seed();
    test::PoolMemory m(kFrames);
    test::Rcu rcu;
    FrameBudget budget(kPages);
    TestRegion r(1, kPages, kPages / 2);
    BOOST_REQUIRE(budget.reserve(kPages / 2));
    for (unsigned id = 0; id < kWriters + kReaders; ++id)
        rcu.online(id);
    std::atomic<bool> stop{false};
    std::atomic<uint64_t> errors{0}, reads{0}, stores{0}, races{0};

    const auto writer = [&](unsigned id) {
        const test::Lcore lcore;
        std::mt19937_64 random(base + id);
        RetireQueue retire(m.pool, rcu.get(), 2048);
        for (uint64_t version = 1; !stop.load(std::memory_order_relaxed); ++version) {
            const uint64_t page = random() % kPages;
            const FrameIndex frame = retire.room() == 0 ? kNoFrame : m.pool.allocate();
            if (frame != kNoFrame && random() % 8 == 0) {
                m.pool.release(frame);
                clear_page(r.region, retire, budget, page);
            } else if (frame != kNoFrame) {
                Pte expected = r.table[page].load(std::memory_order_acquire);
                fill(m.pool, frame, make_tag(page, version * kWriters + id));
                const PublishResult result =
                    publish_page(r.region, m.pool, retire, budget, page, frame, expected);
                if (result != PublishResult::published) m.pool.release(frame);
                if (result == PublishResult::changed) ++races;
                if (!r.list.is_marked(page)) ++errors;
                ++stores;
            }
            retire.reclaim(32);
            rcu.quiescent(id);
            if (retire.room() == 0) std::this_thread::yield();
        }
        while (retire.pending() != 0) {
            rcu.quiescent(id);
            retire.reclaim(32);
            std::this_thread::yield();
        }
        rcu.offline(id);
    };
    struct Held {
        FrameIndex frame = kNoFrame;
        Tag tag = 0;
    };
    const auto reader = [&](unsigned id) {
        const test::Lcore lcore;
        std::mt19937_64 random(base + id);
        std::array<Held, 32> held;
        const auto let_go = [&](Held& h) {
            if (h.frame == kNoFrame) return;
            if (tag_of(m.pool, h.frame) != h.tag) ++errors;
            test::drop_reference(m.pool, h.frame);
            h.frame = kNoFrame;
        };
        while (!stop.load(std::memory_order_relaxed)) {
            const uint64_t page = random() % kPages;
            Held& h = held[random() % held.size()];
            let_go(h);
            const Pte entry = r.table[page].load(std::memory_order_acquire);
            if (entry != kAbsent) {
                h.frame = pte_frame(entry);
                m.pool.reference(h.frame);
                h.tag = tag_of(m.pool, h.frame);
                if (h.tag >> 32 != page || m.pool.meta(h.frame).page != page) ++errors;
                ++reads;
            }
            rcu.quiescent(id);
            if (random() % 256 == 0) std::this_thread::yield();
        }
        for (Held& h : held)
            let_go(h);
        rcu.offline(id);
    };
    {
        std::vector<std::jthread> threads;
        for (unsigned id = 0; id < kWriters; ++id)
            threads.emplace_back(writer, id);
        for (unsigned id = kWriters; id < kWriters + kReaders; ++id)
            threads.emplace_back(reader, id);
        std::this_thread::sleep_for(kDuration);
        stop.store(true);
    }
    BOOST_TEST_MESSAGE(stores << " stores, " << races << " lost races, " << reads << " reads");
    BOOST_TEST(errors.load() == 0U);
    BOOST_TEST(stores.load() > 1000U);
    BOOST_TEST(reads.load() > 1000U);
    BOOST_TEST(r.presence_agrees());

    RetireQueue retire(m.pool, rcu.get(), 128);
    for (uint64_t page = 0; page < kPages; ++page)
        clear_page(r.region, retire, budget, page);
    retire.reclaim(128);
    BOOST_TEST(m.pool.free_count() == kFrames);
    BOOST_TEST(r.region.present.load() == 0U);
    BOOST_TEST(budget.unclaimed() == kPages / 2);
}

// The budget's books balance when lcores cross a region's reserve in both directions at once.
BOOST_AUTO_TEST_CASE(budget_balances_under_contention) {
    FrameBudget budget(40);
    TestRegion a(1, 100, 10), b(2, 100, 5);
    BOOST_REQUIRE(budget.reserve(10));
    BOOST_REQUIRE(budget.reserve(5));
    std::atomic<uint64_t> over{0};
    const uint64_t base = test::seed();
    {
        std::vector<std::jthread> threads;
        for (unsigned id = 0; id < 3; ++id) {
            threads.emplace_back([&, id] {
                std::mt19937_64 random(base + id);
                std::array<int, 2> mine{};
                for (int step = 0; step < 300'000; ++step) {
                    const size_t which = random() % 2;
                    Region& region = which == 0 ? a.region : b.region;
                    if (mine[which] > 0 && random() % 2 == 0) {
                        budget.give(region);
                        --mine[which];
                    } else if (budget.take(region)) {
                        ++mine[which];
                        if (budget.unclaimed() > 25) ++over;
                    }
                }
                for (; mine[0] > 0; --mine[0])
                    budget.give(a.region);
                for (; mine[1] > 0; --mine[1])
                    budget.give(b.region);
            });
        }
    }
    BOOST_TEST(over.load() == 0U);
    BOOST_TEST(budget.unclaimed() == 25U);
    budget.unreserve(15);
    BOOST_TEST(budget.unclaimed() == budget.usable());
}
