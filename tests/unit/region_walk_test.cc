// SPDX-License-Identifier: BSD-3-Clause
#define BOOST_TEST_MODULE region_walk
#include "datapath/memory/region_walk.h"

#include <boost/test/unit_test.hpp>
#include <cstring>
#include <fstream>
#include <map>
#include <set>

#include "tests/unit/region_fixture.h"

using namespace lagan;
using namespace lagan::memory;
using test::Eal;
using test::RegionNode;
namespace fs = std::filesystem;

BOOST_TEST_GLOBAL_FIXTURE(Eal);

namespace {

constexpr uint64_t kFrameBytes = 32ULL << 20;

using Model = std::map<uint64_t, uint64_t>;  // page → word

void store_at_random(RegionNode& node, Region& region, Model& model, std::mt19937_64& random, int steps) {
    RetireQueue retire(node.pool, node.rcu.get(), 1024);
    for (int step = 0; step < steps; ++step) {
        const uint64_t page = random() % region.page_count;
        if (random() % 4 == 0) {
            clear_page(region, retire, node.table.budget(), page);
            model.erase(page);
        } else {
            const uint64_t word = random() | 1;
            BOOST_REQUIRE(node.store(retire, region, page, word));
            model[page] = word;
        }
        retire.reclaim(8);
    }
}

void check(RegionNode& node, Region& region, const Model& model) {
    BOOST_TEST(region.present.load() == model.size());
    for (uint64_t page = 0; page < region.page_count; ++page) {
        const auto there = model.find(page);
        BOOST_REQUIRE(node.load(region, page) == (there == model.end() ? 0 : there->second));
        BOOST_REQUIRE((region.dirty->present()[page / 64].load() >> (page % 64) & 1) == model.contains(page));
    }
}

std::string failure_to_open(const fs::path& directory) {
    try {
        RegionNode node(directory, kFrameBytes);
    } catch (const std::exception& error) {
        return error.what();
    }
    return "";
}

void change_byte(const fs::path& file, size_t at, char by) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(static_cast<std::streamoff>(at));
    const auto before = static_cast<char>(stream.get());
    stream.seekp(static_cast<std::streamoff>(at));
    stream.put(static_cast<char>(before ^ by));
}

}  // namespace

BOOST_AUTO_TEST_CASE(everything_is_there_again) {
    const test::ScratchArena scratch("region_walk_test");
    std::mt19937_64 random(test::seed());
    Model a, b;
    uint32_t a_data = 0, a_dirty = 0, next_id = 0;
    uint64_t a_uid = 0, free_frames = 0, unclaimed = 0, dirty = 0;
    {
        RegionNode node(scratch.path, kFrameBytes);
        Region& first = node.table.create("a", 1500 * kPageBytes, 0, false);
        Region& gone = node.table.create("gone", 100 * kPageBytes, 0, false);
        Region& thin = node.table.create({.name = "b",
                                          .size_bytes = 4000 * kPageBytes,
                                          .reserve_bytes = 300 * kPageBytes,
                                          .overcommit = true,
                                          .temporary = true});
        Model lost;
        store_at_random(node, first, a, random, 5000);
        store_at_random(node, gone, lost, random, 100);
        store_at_random(node, thin, b, random, 3000);
        node.table.destroy(gone);
        a_data = first.data_rkey;
        a_dirty = first.dirty_rkey;
        a_uid = first.uid;
        dirty = first.active().count();
        next_id = thin.id + 1;
        free_frames = node.pool.free_count();
        unclaimed = node.table.budget().unclaimed();
    }  // as a kill would leave it: nothing is written at the end
    for (int round = 0; round < 3; ++round) {
        RegionNode node(scratch.path, kFrameBytes);
        BOOST_REQUIRE(node.table.list().size() == 2U);
        Region& first = *node.table.find("a");
        Region& thin = *node.table.find("b");
        BOOST_TEST(first.data_rkey == a_data);
        BOOST_TEST(first.dirty_rkey == a_dirty);
        BOOST_TEST(first.uid == a_uid);
        BOOST_TEST(!first.temporary);
        BOOST_TEST(thin.temporary);
        BOOST_TEST(thin.reserve_pages == 300U);
        BOOST_TEST(node.rkeys.find(a_data)->region == &first);
        if (round == 0) BOOST_TEST(first.active().count() == dirty);
        if (round == 0) BOOST_TEST(node.pool.free_count() == free_frames);
        if (round == 0) BOOST_TEST(node.table.budget().unclaimed() == unclaimed);
        check(node, first, a);
        check(node, thin, b);
        store_at_random(node, first, a, random, 1000);
        store_at_random(node, thin, b, random, 1000);
        BOOST_TEST(node.table.create("more" + std::to_string(round), kPageBytes, 0, false).id == next_id);
        node.table.destroy(*node.table.find(next_id++));
    }
    RegionNode node(scratch.path, kFrameBytes);
    node.table.destroy(*node.table.find("a"));
    node.table.destroy(*node.table.find("b"));
    BOOST_TEST(node.pool.free_count() == node.pool.capacity());
    BOOST_TEST(node.table.budget().unclaimed() == node.table.budget().usable());
}

BOOST_AUTO_TEST_CASE(a_cut_that_was_running_is_dirty_again) {
    const test::ScratchArena scratch("region_walk_test");
    uint64_t free_frames = 0;
    {
        RegionNode node(scratch.path, kFrameBytes, 64);
        Region& region = node.table.create("r", 100 * kPageBytes, 0, false);
        RetireQueue retire(node.pool, node.rcu.get(), 16);
        node.store(retire, region, 1, 10);
        node.store(retire, region, 2, 20);
        node.table.begin_cut(region, 8);
        node.store(retire, region, 2, 21);  // the old frame is kept, and with it goes the process
        node.store(retire, region, 3, 30);
        free_frames = node.pool.capacity() - 3;
    }
    RegionNode node(scratch.path, kFrameBytes, 64);
    Region& region = *node.table.find("r");
    BOOST_TEST(node.pool.free_count() == free_frames);
    BOOST_TEST(region.dirty->drain().count() == 0U);
    BOOST_TEST(region.active().count() == 3U);
    BOOST_TEST(region.dirty->cut_number() == 1U);
    BOOST_TEST(region.dirty->durable_cut() == 0U);
    BOOST_TEST(node.load(region, 2) == 21U);
}

BOOST_AUTO_TEST_CASE(damaged_entries_are_refused_page_by_page) {
    const test::ScratchArena scratch("region_walk_test");
    uint32_t id = 0;
    {
        RegionNode node(scratch.path, kFrameBytes);
        Region& region = node.table.create("r", 100 * kPageBytes, 0, false);
        id = region.id;
        RetireQueue retire(node.pool, node.rcu.get(), 128);
        for (uint64_t page = 0; page < 50; ++page)
            node.store(retire, region, page, page + 1);
        region.page_table[3].store(make_pte(node.pool.capacity()));                 // beyond the pool
        region.page_table[4].store(region.page_table[5].load());                    // another page's
        region.page_table[60].store(region.page_table[6].load());                   // another page's
        region.page_table[7].fetch_or(1ULL << 40);                                  // no such flag
        node.pool.meta(pte_frame(region.page_table[8].load())).region_id = id + 1;  // another region's
        region.page_table[9].fetch_or(kPtePoisoned);                                // known to be bad
    }
    RegionNode node(scratch.path, kFrameBytes);
    Region& region = *node.table.find(id);
    const std::set<uint64_t> bad{3, 4, 7, 8, 9, 60};
    BOOST_TEST(region.present.load() == 51U);
    for (uint64_t page = 0; page < 50; ++page) {
        BOOST_TEST(((region.page_table[page].load() & kPtePoisoned) != 0) == bad.contains(page),
                   "page " << page);
        if (!bad.contains(page)) BOOST_TEST(node.load(region, page) == page + 1);
    }
    // Storing mends them; frames of damaged entries come back once, not twice.
    RetireQueue retire(node.pool, node.rcu.get(), 128);
    for (const uint64_t page : bad)
        BOOST_TEST(node.store(retire, region, page, page + 1));
    BOOST_TEST(clear_page(region, retire, node.table.budget(), 60));
    retire.reclaim(128);
    BOOST_TEST(region.present.load() == 50U);
    BOOST_TEST(node.pool.free_count() == node.pool.capacity() - 50);
}

BOOST_AUTO_TEST_CASE(damaged_records_and_lists_are_named) {
    const test::ScratchArena scratch("region_walk_test");
    const auto file = [&](const char* kind) { return scratch.path / region_file(1, kind); };
    {
        RegionNode node(scratch.path, kFrameBytes);
        node.table.create("r", 100 * kPageBytes, 0, false);
    }
    const auto refused = [&](const char* why) {
        const std::string message = failure_to_open(scratch.path);
        BOOST_TEST(message.find("region 1") != std::string::npos, message);
        BOOST_TEST(message.find("region-1.*") != std::string::npos, message);
        BOOST_TEST(message.find(why) != std::string::npos, message);
    };
    for (size_t at = 0; at < sizeof(RegionRecord); ++at) {
        change_byte(file("record"), at, 1);
        refused("");
        change_byte(file("record"), at, 1);
    }
    change_byte(file("dirty"), 24, 1);
    refused("dirty lists");
    change_byte(file("dirty"), 24, 1);
    uint64_t magic = kDirtyMemoryMagic;
    for (size_t at = 0; at < sizeof magic; ++at)  // to none: it is not formatted anew
        change_byte(file("dirty"), at, reinterpret_cast<const char*>(&magic)[at]);
    refused("no magic");
    for (size_t at = 0; at < sizeof magic; ++at)
        change_byte(file("dirty"), at, reinterpret_cast<const char*>(&magic)[at]);
    for (const char* kind : {"pages", "dirty", "record"}) {
        fs::rename(file(kind), scratch.path / "away");
        if (std::strcmp(kind, "record") == 0) break;
        refused(kind);
        fs::rename(scratch.path / "away", file(kind));
    }
    // Without its record a region does not exist. (It was the last file moved away.)
    RegionNode node(scratch.path, kFrameBytes);
    BOOST_TEST(node.table.list().empty());
    BOOST_TEST(!fs::exists(file("pages")));
}

BOOST_AUTO_TEST_CASE(what_was_restored_in_part_is_dropped_and_named) {
    const test::ScratchArena scratch("region_walk_test");
    {
        RegionNode node(scratch.path, kFrameBytes);
        node.table.create("whole", 10 * kPageBytes, 0, false);
        node.table.create({.name = "part", .size_bytes = 10 * kPageBytes, .restoring = true});
        Region& done = node.table.create({.name = "done", .size_bytes = 10 * kPageBytes, .restoring = true});
        node.table.complete(done, 3);
    }
    for (const std::vector<std::string>& named : {std::vector<std::string>{"part"}, {}}) {
        RegionNode node(scratch.path, kFrameBytes);
        BOOST_TEST(node.found.half_restored == named, boost::test_tools::per_element());
        BOOST_TEST(node.table.list().size() == 2U);
        BOOST_TEST(node.table.find("part") == nullptr);
    }
}

BOOST_AUTO_TEST_CASE(a_rescue_reads_and_changes_nothing) {
    const test::ScratchArena scratch("region_walk_test");
    Model model;
    std::mt19937_64 random(test::seed());
    {
        RegionNode node(scratch.path, kFrameBytes, 64);
        Region& region = node.table.create("r", 500 * kPageBytes, 0, false);
        store_at_random(node, region, model, random, 2000);
        node.table.begin_cut(region, 8);
        store_at_random(node, region, model, random, 100);
        region.page_table[7].store(make_pte(node.pool.capacity()));
    }
    const auto files = [&] {
        std::map<std::string, std::string> all;
        for (const auto& entry : fs::directory_iterator(scratch.path)) {
            std::ifstream stream(entry.path(), std::ios::binary);
            all[entry.path().filename()] = {std::istreambuf_iterator<char>(stream), {}};
        }
        return all;
    };
    const auto before = files();
    {
        RegionNode node(scratch.path, 0, 0, Arena::Start::look);
        Region& region = *node.table.find("r");
        BOOST_TEST(node.rkeys.find(region.data_rkey)->access == kAccessRead);
        BOOST_TEST(region.dirty->drain().count() > 0U);  // as they were left
        BOOST_TEST((region.page_table[7].load() & kPtePoisoned) != 0U);
        for (const auto& [page, word] : model)
            if (page != 7) BOOST_REQUIRE(node.load(region, page) == word);
    }
    BOOST_TEST((files() == before));
}

BOOST_AUTO_TEST_CASE(a_rescue_leaves_damaged_regions_out) {
    const test::ScratchArena scratch("region_walk_test");
    {
        RegionNode node(scratch.path, kFrameBytes);
        for (const char* name : {"record", "good", "lists", "pages"}) {
            Region& region = node.table.create(name, 100 * kPageBytes, 0, false);
            RetireQueue retire(node.pool, node.rcu.get(), 16);
            node.store(retire, region, 1, region.id);
        }
    }
    change_byte(scratch.path / region_file(1, "record"), 40, 1);
    change_byte(scratch.path / region_file(3, "dirty"), 8, 1);
    fs::resize_file(scratch.path / region_file(4, "pages"), 0);
    BOOST_TEST(failure_to_open(scratch.path).find("region 1") != std::string::npos);

    RegionNode node(scratch.path, 0, 0, Arena::Start::look);
    BOOST_REQUIRE_EQUAL(node.table.list().size(), 1U);
    BOOST_TEST(node.load(*node.table.find("good"), 1) == 2U);
    std::map<uint32_t, std::string> reasons;
    for (const LeftOutRegion& region : node.found.left_out)
        reasons[region.id] = region.reason;
    BOOST_REQUIRE_EQUAL(reasons.size(), 3U);
    BOOST_TEST(reasons[1].find("record") != std::string::npos);
    BOOST_TEST(reasons[3].find("dirty lists") != std::string::npos);
    BOOST_TEST(reasons[4].find("region-4.pages") != std::string::npos);
}
