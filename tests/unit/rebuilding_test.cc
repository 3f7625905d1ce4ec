// SPDX-License-Identifier: BSD-3-Clause
// Regions whose pages come from elsewhere while they are in use: pending entries, who is first, what
// survives.
#define BOOST_TEST_MODULE rebuilding
#include <rte_memzone.h>

#include <atomic>
#include <boost/test/unit_test.hpp>
#include <map>
#include <thread>

#include "tests/unit/region_fixture.h"

using namespace lagan;
using namespace lagan::memory;
using test::Eal;
using test::RegionNode;
using Kind = Settlement::Kind;

BOOST_TEST_GLOBAL_FIXTURE(Eal);

namespace {

constexpr uint64_t kFrameBytes = 32ULL << 20;

Region& make_rebuilding(RegionNode& node, uint64_t pages, const char* name = "r") {
    return node.table.create(
        {.name = name, .size_bytes = pages * kPageBytes, .rebuilding = true, .uid = 77, .epoch = 2});
}

// As the rebuilder does it: an RCU reader, with a frame of its own.
PublishResult settle(RegionNode& node, Region& region, uint64_t page, Kind kind, uint64_t word, bool dirty) {
    if (kind != Kind::frame)
        return settle_page(region, node.pool, node.table.budget(), page, {.kind = kind}, dirty);
    const FrameIndex frame = node.fill(word);
    BOOST_REQUIRE(frame != kNoFrame);
    const PublishResult result =
        settle_page(region, node.pool, node.table.budget(), page, {kind, frame}, dirty);
    if (result != PublishResult::published) node.pool.release(frame);
    return result;
}

bool is_present(const Region& region, uint64_t page) {
    return (region.dirty->present()[page / 64].load() >> (page % 64) & 1) != 0;
}

struct Bench {
    explicit Bench(const std::string& name, uint64_t pages)
        : scratch(name),
          node(scratch.path, kFrameBytes),
          region(make_rebuilding(node, pages)),
          retire(node.pool, node.rcu.get(), 1024) {}
    bool clear(uint64_t page) { return clear_page(region, retire, node.table.budget(), page); }
    test::ScratchArena scratch;
    RegionNode node;
    Region& region;
    RetireQueue retire;
};

}  // namespace

BOOST_AUTO_TEST_CASE(a_pending_entry_is_no_frame) {
    static_assert(pte_frame(kPtePending) == kNoFrame && is_empty(kPtePending) && is_empty(kAbsent));
    static_assert(!is_empty(kPtePoisoned) && !is_empty(make_pte(0)) && !is_empty(make_pte(0) | kPtePoisoned));
    Bench b("rebuilding_new", 10);
    BOOST_TEST(b.region.rebuilding);
    BOOST_TEST(b.region.pending.load() == 10U);
    BOOST_TEST(b.region.present.load() == 0U);
    BOOST_TEST(b.region.dirty_pages() == 0U);
    for (uint64_t page = 0; page < 10; ++page) {
        BOOST_TEST(b.region.page_table[page].load() == kPtePending);
        BOOST_TEST(!is_present(b.region, page));
    }
    BOOST_CHECK_THROW(b.node.table.begin_cut(b.region, 8), std::logic_error);
    BOOST_CHECK_THROW(b.node.table.complete(b.region, 1), std::logic_error);
    BOOST_TEST(b.region.rebuilding);
}

BOOST_AUTO_TEST_CASE(settled_stored_and_freed_pages) {
    Bench b("rebuilding_pages", 8);
    const uint64_t unclaimed = b.node.table.budget().unclaimed();
    BOOST_TEST((settle(b.node, b.region, 0, Kind::frame, 100, true) == PublishResult::published));
    BOOST_TEST((settle(b.node, b.region, 1, Kind::frame, 101, false) == PublishResult::published));
    BOOST_TEST((settle(b.node, b.region, 2, Kind::absent, 0, true) == PublishResult::published));
    BOOST_TEST((settle(b.node, b.region, 3, Kind::absent, 0, false) == PublishResult::published));
    BOOST_TEST((settle(b.node, b.region, 4, Kind::damaged, 0, true) == PublishResult::published));
    BOOST_TEST(b.node.store(b.retire, b.region, 5, 105));
    BOOST_TEST(!b.clear(6));  // it held no frame here
    BOOST_TEST(b.region.pending.load() == 1U);
    for (uint64_t page = 0; page < 7; ++page)  // each has been settled, by whomever
        BOOST_TEST((settle(b.node, b.region, page, Kind::frame, 999, true) == PublishResult::changed), page);

    const std::map<uint64_t, uint64_t> words{{0, 100}, {1, 101}, {2, 0}, {3, 0}, {5, 105}, {6, 0}};
    for (const auto& [page, word] : words)
        BOOST_TEST(b.node.load(b.region, page) == word, page);
    BOOST_TEST(b.region.page_table[4].load() == kPtePoisoned);
    BOOST_TEST(b.region.damaged.load() == 1U);
    BOOST_TEST(b.region.present.load() == 4U);
    for (uint64_t page = 0; page < 8; ++page) {
        const bool here = page == 0 || page == 1 || page == 4 || page == 5;
        BOOST_TEST(is_present(b.region, page) == here, page);
        const bool dirty = page == 0 || page == 2 || page >= 4;
        BOOST_TEST(b.region.active().is_marked(page) == (dirty && page != 7), page);
    }
    // The damaged one is good again when it is stored.
    BOOST_TEST(b.node.store(b.retire, b.region, 4, 104));
    BOOST_TEST(b.region.damaged.load() == 0U);
    BOOST_TEST(b.region.present.load() == 4U);

    BOOST_TEST((settle(b.node, b.region, 7, Kind::absent, 0, false) == PublishResult::published));
    b.node.table.complete(b.region, 31);
    BOOST_TEST(!b.region.rebuilding);
    BOOST_TEST(b.region.dirty->cut_number() == 31U);
    BOOST_TEST(b.region.wanted == nullptr);
    b.node.table.end_cut(b.region, (b.node.table.begin_cut(b.region, 8), RegionTable::CutEnd::given_up));
    BOOST_TEST(b.node.table.budget().unclaimed() == unclaimed);
}

// A rebuild takes nothing of EAL's memory, which is for pools and queue pairs, and keeps none of its own.
BOOST_AUTO_TEST_CASE(rebuilds_leave_eal_its_memory) {
    const auto zones = [] {
        uint64_t count = 0;
        rte_memzone_walk([](const rte_memzone*, void* to) { ++*static_cast<uint64_t*>(to); }, &count);
        return count;
    };
    Bench b("rebuilding_many", 8);
    const uint64_t before = zones();
    for (int i = 0; i < 300; ++i) {
        Region& region = b.node.table.create({.name = "r" + std::to_string(i),
                                              .size_bytes = kPageBytes,
                                              .overcommit = true,
                                              .rebuilding = true});
        BOOST_TEST(zones() == before);
        settle(b.node, region, 0, Kind::absent, 0, false);
        b.node.table.complete(region, 1);
        b.node.table.destroy(region);
    }
}

BOOST_AUTO_TEST_CASE(a_page_that_finds_no_room_stays_pending) {
    const test::ScratchArena scratch("rebuilding_room");
    RegionNode node(scratch.path, kFrameBytes);
    Region& all = node.table.create("all", node.table.budget().unclaimed() * kPageBytes, 0, false);
    Region& thin = node.table.create(
        {.name = "thin", .size_bytes = 4 * kPageBytes, .overcommit = true, .rebuilding = true});
    BOOST_TEST(all.reserve_pages != 0U);
    for (const Kind kind : {Kind::frame, Kind::damaged})
        BOOST_TEST((settle(node, thin, 1, kind, 5, true) == PublishResult::no_frames));
    BOOST_TEST(thin.page_table[1].load() == kPtePending);
    BOOST_TEST(thin.pending.load() == 4U);
    BOOST_TEST(thin.damaged.load() == 0U);
    BOOST_TEST((settle(node, thin, 1, Kind::absent, 0, true) == PublishResult::published));
}

BOOST_AUTO_TEST_CASE(a_region_that_goes_half_way_leaks_nothing) {
    const test::ScratchArena scratch("rebuilding_gone");
    RegionNode node(scratch.path, kFrameBytes);
    const uint64_t frames = node.pool.free_count(), unclaimed = node.table.budget().unclaimed();
    for (int round = 0; round < 3; ++round) {
        Region& region = make_rebuilding(node, 300);
        for (uint64_t page = 0; page < 300; page += 3)
            settle(node, region, page, page % 2 == 0 ? Kind::frame : Kind::damaged, page, true);
        node.table.destroy(region);
        BOOST_TEST(node.pool.free_count() == frames);
        BOOST_TEST(node.table.budget().unclaimed() == unclaimed);
    }
}

BOOST_AUTO_TEST_CASE(pages_are_wanted_once_and_in_order) {
    constexpr uint64_t kPages = WantedPages::kCapacity + 100;
    WantedPages wanted(kPages);
    for (const uint64_t page : std::array<uint64_t, 6>{5, 70, 5, 0, 70, kPages - 1})
        wanted.ask(page);
    std::vector<uint64_t> taken(kPages);
    taken.resize(wanted.take(taken));
    BOOST_TEST(taken == (std::vector<uint64_t>{5, 70, 0, kPages - 1}), boost::test_tools::per_element());
    wanted.ask(5);  // has been brought, or will be
    taken.resize(kPages);
    BOOST_TEST(wanted.take(taken) == 0U);

    // More than there is room for are asked for again by whoever waits.
    std::vector<bool> seen(kPages);
    size_t count = 0;
    for (int round = 0; round < 2; ++round) {
        for (uint64_t page = 0; page < kPages; ++page)
            wanted.ask(page);
        for (size_t got; (got = wanted.take(taken)) != 0; count += got)
            for (size_t i = 0; i < got; ++i) {
                BOOST_REQUIRE(!seen[taken[i]]);
                seen[taken[i]] = true;
            }
        BOOST_TEST(count == (round == 0 ? WantedPages::kCapacity : kPages - 4));
    }
}

BOOST_AUTO_TEST_CASE(only_pending_pages_are_wanted) {
    Bench b("rebuilding_want", 4);
    BOOST_TEST(b.node.store(b.retire, b.region, 1, 7));
    BOOST_TEST(want_if_pending(b.region, 0));
    BOOST_TEST(!want_if_pending(b.region, 1));
    std::array<uint64_t, 4> pages{};
    BOOST_REQUIRE(b.region.wanted->take(pages) == 1U);
    BOOST_TEST(pages[0] == 0U);
}

// What a kill -9 in the middle leaves is gone on with.
BOOST_AUTO_TEST_CASE(it_goes_on_after_a_restart) {
    constexpr uint64_t kPages = 1000;
    const test::ScratchArena scratch("rebuilding_restart");
    std::mt19937_64 random(test::seed());
    std::map<uint64_t, Pte> entries;
    std::map<uint64_t, uint64_t> words;
    uint64_t pending = kPages;
    {
        RegionNode node(scratch.path, kFrameBytes);
        make_rebuilding(node, kPages);
    }
    for (int round = 0; round < 4; ++round) {
        RegionNode node(scratch.path, kFrameBytes);
        Region& region = *node.table.find("r");
        BOOST_TEST(region.rebuilding);
        BOOST_TEST(region.epoch == 2U);
        BOOST_TEST(region.pending.load() == pending);
        BOOST_TEST(region.damaged.load() ==
                   uint64_t(std::count_if(entries.begin(), entries.end(),
                                          [](const auto& e) { return e.second == kPtePoisoned; })));
        uint64_t present = 0;
        for (uint64_t page = 0; page < kPages; ++page) {
            const auto known = entries.find(page);
            const Pte entry = region.page_table[page].load();
            BOOST_REQUIRE((known == entries.end() ? entry == kPtePending : entry == known->second));
            if (words.contains(page)) BOOST_REQUIRE(node.load(region, page) == words[page]);
            BOOST_REQUIRE(is_present(region, page) == !is_empty(entry));
            present += !is_empty(entry);
        }
        BOOST_TEST(region.present.load() == present);
        RetireQueue retire(node.pool, node.rcu.get(), 1024);
        for (int step = 0; step < 200; ++step) {
            const uint64_t page = random() % kPages;
            const uint64_t word = random() | 1;
            const auto what = random() % 5;
            if (what == 4) {
                clear_page(region, retire, node.table.budget(), page);
            } else if (what == 3) {
                BOOST_REQUIRE(node.store(retire, region, page, word));
                words[page] = word;
            } else if (settle(node, region, page, static_cast<Kind>(what), word, step % 2 == 0) ==
                           PublishResult::published &&
                       what == 0) {
                words[page] = word;
            }
            entries[page] = region.page_table[page].load();
            if (is_empty(entries[page]) || entries[page] == kPtePoisoned) words.erase(page);
        }
        retire.reclaim(1024);
        pending = region.pending;
        BOOST_TEST(pending == kPages - entries.size());
    }
    {
        RegionNode node(scratch.path, kFrameBytes);
        Region& region = *node.table.find("r");
        for (uint64_t page = 0; page < kPages; ++page)
            settle(node, region, page, Kind::absent, 0, false);
        node.table.complete(region, 12);
    }
    RegionNode node(scratch.path, kFrameBytes);
    Region& region = *node.table.find("r");
    BOOST_TEST(!region.rebuilding);
    BOOST_TEST(region.pending.load() == 0U);
    BOOST_TEST(region.dirty->durable_cut() == 12U);
    for (uint64_t page = 0; page < kPages; ++page)
        if (region.page_table[page].load() != kPtePoisoned)
            BOOST_REQUIRE(node.load(region, page) == (words.contains(page) ? words[page] : 0));
}

BOOST_AUTO_TEST_CASE(a_pending_entry_where_none_can_be_is_damage) {
    const test::ScratchArena scratch("rebuilding_stray");
    {
        RegionNode node(scratch.path, kFrameBytes);
        node.table.create("whole", 10 * kPageBytes, 0, false).page_table[3].store(kPtePending);
        make_rebuilding(node, 10).page_table[4].store(kPtePending | kPtePoisoned);
    }
    RegionNode node(scratch.path, kFrameBytes);
    BOOST_TEST(node.table.find("whole")->page_table[3].load() == kPtePoisoned);
    BOOST_TEST(node.table.find("whole")->damaged.load() == 1U);
    BOOST_TEST(node.table.find("whole")->pending.load() == 0U);
    BOOST_TEST(node.table.find("r")->page_table[4].load() == kPtePoisoned);
    BOOST_TEST(node.table.find("r")->pending.load() == 9U);
}

// Its lists do not say which pages were only pending here.
BOOST_AUTO_TEST_CASE(a_rescue_leaves_it_out) {
    const test::ScratchArena scratch("rebuilding_rescue");
    {
        RegionNode node(scratch.path, kFrameBytes);
        node.table.create("whole", 10 * kPageBytes, 0, false);
        make_rebuilding(node, 10);
    }
    const RegionNode node(scratch.path, 0, 0, Arena::Start::look);
    BOOST_REQUIRE(node.found.left_out.size() == 1U);
    BOOST_TEST(node.found.left_out[0].reason.find("rebuilding") != std::string::npos);
}

// Stores and frees on two lcores, and the rebuilder, all on the same pages at the same time: a page that
// anybody has stored or freed never becomes what was elsewhere, all others do; and the books balance.
BOOST_AUTO_TEST_CASE(whoever_is_first_stays) {
    constexpr uint64_t kPages = 4000;
    constexpr unsigned kStorers = 2;
    Bench b("rebuilding_race", kPages);
    const uint64_t base = test::seed();
    const uint64_t frames = b.node.pool.free_count();
    std::atomic<uint64_t> cursor{0}, steps{0}, lost{0}, errors{0};
    using LastWord = std::map<uint64_t, uint64_t>;  // page → what this storer made of it last; 0: freed
    std::array<LastWord, kStorers> last;

    const auto settler = [&] {
        b.node.rcu.online(kStorers);
        std::mt19937_64 random(base);
        for (uint64_t page = 0; page < kPages; cursor = ++page) {
            const Kind kind = page % 4 == 0 ? Kind::absent : page % 7 == 0 ? Kind::damaged : Kind::frame;
            if (settle(b.node, b.region, page, kind, page << 32 | 1, page % 3 == 0) !=
                PublishResult::published)
                ++lost;
            do {  // in step with the storers, whoever gets the processor
                b.node.rcu.quiescent(kStorers);
                if (random() % 16 == 0) std::this_thread::yield();
            } while (steps.load(std::memory_order_relaxed) < page / 4);
        }
        b.node.rcu.offline(kStorers);
    };
    const auto storer = [&](unsigned id) {
        const test::Lcore lcore;
        b.node.rcu.online(id);
        RetireQueue retire(b.node.pool, b.node.rcu.get(), 1024);
        std::mt19937_64 random(base + 1 + id);
        for (uint64_t step = 1; cursor.load(std::memory_order_relaxed) != kPages; ++step) {
            // Around where the settler is.
            const uint64_t at = cursor.load(std::memory_order_relaxed) + random() % 12;
            const uint64_t page = std::min(at < 4 ? 0 : at - 4, kPages - 1);
            if (retire.room() == 0) {
                std::this_thread::yield();
            } else if (random() % 4 == 0) {
                clear_page(b.region, retire, b.node.table.budget(), page);
                last[id][page] = 0;
            } else {
                const uint64_t word = page << 32 | (step * kStorers + id) << 1;
                if (!b.node.store(retire, b.region, page, word)) ++errors;
                if (!b.region.active().is_marked(page)) ++errors;
                last[id][page] = word;
            }
            ++steps;
            retire.reclaim(32);
            b.node.rcu.quiescent(id);
            if (random() % 4 == 0) std::this_thread::yield();
        }
        while (retire.pending() != 0) {
            b.node.rcu.quiescent(id);
            retire.reclaim(1024);
            std::this_thread::yield();
        }
        b.node.rcu.offline(id);
    };
    {
        std::vector<std::jthread> threads;
        threads.emplace_back(settler);
        for (unsigned id = 0; id < kStorers; ++id)
            threads.emplace_back(storer, id);
    }
    BOOST_TEST_MESSAGE(lost << " of " << kPages << " pages were stored or freed before they came");
    BOOST_TEST(errors.load() == 0U);
    BOOST_TEST(lost.load() > 10U);
    BOOST_TEST(b.region.pending.load() == 0U);
    uint64_t present = 0, damaged = 0;
    for (uint64_t page = 0; page < kPages; ++page) {
        const Pte entry = b.region.page_table[page].load();
        BOOST_REQUIRE(entry != kPtePending);
        BOOST_REQUIRE(is_present(b.region, page) == !is_empty(entry));
        present += !is_empty(entry);
        damaged += entry == kPtePoisoned;
        std::vector<uint64_t> allowed;
        for (const LastWord& words : last)
            if (const auto word = words.find(page); word != words.end()) allowed.push_back(word->second);
        if (allowed.empty()) {
            if (page % 4 == 0) {
                BOOST_REQUIRE(entry == kAbsent);
            } else if (page % 7 == 0) {
                BOOST_REQUIRE(entry == kPtePoisoned);
            } else {
                BOOST_REQUIRE(b.node.load(b.region, page) == (page << 32 | 1));
            }
            BOOST_REQUIRE(b.region.active().is_marked(page) == (page % 3 == 0));
        } else {
            BOOST_REQUIRE(entry != kPtePoisoned);
            const uint64_t word = b.node.load(b.region, page);
            BOOST_REQUIRE(std::find(allowed.begin(), allowed.end(), word) != allowed.end());
        }
    }
    BOOST_TEST(b.region.present.load() == present);
    BOOST_TEST(b.region.damaged.load() == damaged);
    BOOST_TEST(b.node.pool.free_count() == frames - (present - damaged));
}
