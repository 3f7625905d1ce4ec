// SPDX-License-Identifier: BSD-3-Clause
#define BOOST_TEST_MODULE region_table
#include "datapath/memory/region_table.h"

#include <atomic>
#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "datapath/memory/arena_layout.h"
#include "datapath/memory/retire_queue.h"
#include "tests/unit/memory_fixture.h"

using namespace lagan;
using namespace lagan::memory;
using test::Eal;
using Kind = RegionError::Kind;
namespace fs = std::filesystem;

BOOST_TEST_GLOBAL_FIXTURE(Eal);

namespace {

constexpr uint64_t kMiB = 1U << 20;
constexpr uint64_t kSlack = 100;

struct Node {
    Node()
        : arena({"/dev/shm/lagan_region_table_test." + std::to_string(getpid()), 16 * kMiB}),
          pool(arena.frames(), arena.frame_meta()),
          rkeys(16),
          table(arena, pool, rkeys, rcu.get(), kSlack) {}
    ~Node() { arena.discard(); }

    size_t files() const {
        return static_cast<size_t>(
            std::distance(fs::directory_iterator(arena.directory()), fs::directory_iterator()));
    }
    Kind refusal(std::string_view name, uint64_t size, uint64_t reserve = 0, bool overcommit = false) {
        const size_t files_before = files();
        const uint64_t unclaimed = table.budget().unclaimed();
        try {
            table.create(name, size, reserve, overcommit);
        } catch (const RegionError& error) {
            BOOST_TEST(files() == files_before);
            BOOST_TEST(table.budget().unclaimed() == unclaimed);
            return error.kind;
        }
        BOOST_FAIL("created " << name);
        return Kind::exists;
    }

    Arena arena;
    FramePool pool;
    RkeyTable rkeys;
    test::Rcu rcu;
    RegionTable table;
};

void store(Node& node, RetireQueue& retire, Region& region, uint64_t page) {
    const FrameIndex frame = node.pool.allocate();
    Pte expected = region.page_table[page].load();
    BOOST_REQUIRE(frame != kNoFrame);
    BOOST_REQUIRE((publish_page(region, node.pool, retire, node.table.budget(), page, frame, expected) ==
                   PublishResult::published));
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_region_is_reachable_by_name_id_and_rkeys) {
    Node node;
    Region& region = node.table.create("vm-7.heap_a", 3 * kMiB + 1, 0, false);
    BOOST_TEST(region.id == 1U);
    BOOST_TEST(region.page_count == 769U);
    BOOST_TEST(region.size_bytes == 769U * kPageBytes);
    BOOST_TEST(region.reserve_pages == 769U);
    BOOST_TEST(region.epoch == 1U);
    BOOST_TEST(region.present.load() == 0U);
    BOOST_TEST(node.table.find("vm-7.heap_a") == &region);
    BOOST_TEST(node.table.find(1U) == &region);
    BOOST_TEST(node.table.find("vm-7") == nullptr);
    BOOST_TEST(node.table.find(2U) == nullptr);
    BOOST_TEST(node.table.list().size() == 1U);

    const MemoryRegion* data = node.rkeys.find(region.data_rkey);
    BOOST_REQUIRE(data != nullptr);
    BOOST_TEST((data->kind == MemoryRegion::Kind::paged));
    BOOST_TEST(data->access == (kAccessRead | kAccessWrite));
    BOOST_TEST(data->length == region.size_bytes);
    BOOST_TEST(data->region == &region);
    BOOST_TEST(data->region_id == region.id);
    const MemoryRegion* dirty = node.rkeys.find(region.dirty_rkey);
    BOOST_REQUIRE(dirty != nullptr);
    BOOST_TEST((dirty->kind == MemoryRegion::Kind::flat));
    BOOST_TEST(dirty->access == kAccessRead);
    BOOST_TEST(dirty->length == region.dirty->memory().size());
    BOOST_TEST(dirty->base == region.dirty->memory().data());
    BOOST_TEST(dirty->region_id == region.id);
}

BOOST_AUTO_TEST_CASE(the_record_says_all_that_a_restart_needs) {
    Node node;
    Region& region = node.table.create("records", 5 * kPageBytes, 2 * kPageBytes, true);
    std::ifstream file(node.arena.directory() / region_file(region.id, "record"), std::ios::binary);
    RegionRecord record;
    file.read(reinterpret_cast<char*>(&record), sizeof(record));
    BOOST_REQUIRE(file.good());
    BOOST_TEST(record.magic == kRecordMagic);
    BOOST_TEST(record.crc == layout_crc(record));
    BOOST_TEST(record.region_id == region.id);
    BOOST_TEST(record.size_bytes == 5 * kPageBytes);
    BOOST_TEST(record.reserve_pages == 2U);
    BOOST_TEST(record.epoch == 1U);
    BOOST_TEST(record.data_rkey == region.data_rkey);
    BOOST_TEST(record.dirty_rkey == region.dirty_rkey);
    BOOST_TEST(std::string(record.name) == "records");
    BOOST_TEST(!fs::exists(node.arena.directory() / (region_file(region.id, "record") + kNewSuffix)));
}

BOOST_AUTO_TEST_CASE(bad_requests_are_refused_and_leave_nothing) {
    Node node;
    const std::string longest(63, 'x');
    for (const std::string& name :
         {std::string(), std::string("."), std::string("-a"), std::string("a/b"), std::string("a b"),
          longest + "x", std::string("a\0b", 3), std::string("\xc3\xa4"), std::string("../x")})
        BOOST_TEST((node.refusal(name, kPageBytes) == Kind::invalid), name);
    BOOST_TEST((node.refusal("a", 0) == Kind::invalid));
    BOOST_TEST((node.refusal("a", ~0ULL) == Kind::invalid));
    BOOST_TEST((node.refusal("a", kMaxRegionPages * kPageBytes + 1) == Kind::invalid));
    BOOST_TEST((node.refusal("a", kMaxRegionPages * kPageBytes) == Kind::no_room));
    BOOST_TEST((node.refusal("a", kMaxRegionPages * kPageBytes, 0, true) ==
                Kind::no_room));  // its page table: 32 GiB
    BOOST_TEST((node.refusal("a", 17 * kMiB) == Kind::no_room));
    BOOST_TEST((node.refusal("a", kMiB, 2 * kMiB, true) == Kind::invalid));
    BOOST_TEST((node.refusal("a", kMiB, ~0ULL, true) == Kind::invalid));
    BOOST_TEST((node.refusal("a", 2 * kMiB, kMiB, false) == Kind::invalid));
    BOOST_TEST((node.refusal("a", 100 * kMiB, 17 * kMiB, true) == Kind::no_room));
    node.table.create(longest, kPageBytes, kPageBytes, false);
    BOOST_TEST((node.refusal(longest, kPageBytes) == Kind::exists));
    // R_Keys run out (16 of them): the eighth region is the last.
    for (int i = 0; i < 7; ++i)
        node.table.create("r" + std::to_string(i), kPageBytes, 0, false);
    BOOST_TEST((node.refusal("r7", kPageBytes) == Kind::no_room));
    BOOST_TEST(node.table.list().size() == 8U);
}

BOOST_AUTO_TEST_CASE(reserves_and_overcommit) {
    Node node;
    const uint64_t usable = node.table.budget().usable();
    BOOST_TEST(usable == 4096 - kSlack - node.pool.slack_frames());
    Region& thin = node.table.create("thin", 64 * kMiB, 0, true);
    BOOST_TEST(thin.reserve_pages == 0U);
    BOOST_TEST(node.table.budget().unclaimed() == usable);
    Region& sure = node.table.create("sure", 8 * kMiB, 0, false);
    BOOST_TEST(node.table.budget().unclaimed() == usable - 2048);
    RetireQueue retire(node.pool, node.rcu.get(), 16);
    for (uint64_t page = 0; page < usable - 2048; ++page)
        store(node, retire, thin, page);
    Pte expected = kAbsent;
    const FrameIndex frame = node.pool.allocate();
    BOOST_TEST((publish_page(thin, node.pool, retire, node.table.budget(), 9000, frame, expected) ==
                PublishResult::no_frames));
    node.pool.release(frame);
    for (uint64_t page = 0; page < 2048; ++page)
        store(node, retire, sure, page);  // its reserve was kept
    node.table.destroy(thin);
    BOOST_TEST(node.table.budget().unclaimed() == usable - 2048);
    node.table.destroy(sure);
    BOOST_TEST(node.table.budget().unclaimed() == usable);
    BOOST_TEST(node.pool.free_count() == 4096U);
    BOOST_CHECK_THROW(RegionTable(node.arena, node.pool, node.rkeys, node.rcu.get(), 4096),
                      std::runtime_error);
    BOOST_CHECK_THROW(RegionTable(node.arena, node.pool, node.rkeys, node.rcu.get(), ~0ULL),
                      std::runtime_error);
}

BOOST_AUTO_TEST_CASE(destroy_frees_everything_and_ids_do_not_come_back) {
    Node node;
    RetireQueue retire(node.pool, node.rcu.get(), 16);
    std::set<uint32_t> ids;
    const size_t files_before = node.files();
    for (int round = 0; round < 20; ++round) {  // more than there are R_Keys: slots are used again
        Region& region = node.table.create("again", kMiB, 0, false);
        BOOST_TEST(ids.insert(region.id).second);
        BOOST_TEST(region.active().count() == 0U);
        for (uint64_t page = 0; page < region.page_count; page += 3)
            store(node, retire, region, page);
        region.page_table[3].fetch_or(kPtePoisoned);
        const uint32_t data_rkey = region.data_rkey, dirty_rkey = region.dirty_rkey;
        node.table.destroy(region);
        BOOST_TEST(node.pool.free_count() == 4096U);
        BOOST_TEST(node.rkeys.find(data_rkey) == nullptr);
        BOOST_TEST(node.rkeys.find(dirty_rkey) == nullptr);
        BOOST_TEST(node.files() == files_before);
        BOOST_TEST(node.table.list().empty());
    }
    Region unknown{};
    BOOST_CHECK_THROW(node.table.destroy(unknown), RegionError);
}

// An lcore that reads through R_Keys while regions come and go: no frame that it holds changes, none is lost.
BOOST_AUTO_TEST_CASE(destroy_waits_for_readers) {
    Node node;
    std::atomic<uint32_t> rkey{0};
    std::atomic<bool> stop{false};
    std::atomic<uint64_t> errors{0}, reads{0};
    node.rcu.online(0);
    {
        std::jthread lcore([&] {
            const test::Lcore registered;
            std::mt19937_64 random(1);
            while (!stop.load(std::memory_order_relaxed)) {
                const MemoryRegion* entry = node.rkeys.find(rkey.load(std::memory_order_relaxed));
                if (entry != nullptr) {
                    const uint64_t page = random() % (entry->length / kPageBytes);
                    const Pte pte = entry->region->page_table[page].load(std::memory_order_acquire);
                    if (pte != kAbsent) {
                        node.pool.reference(pte_frame(pte));
                        if (node.pool.meta(pte_frame(pte)).region_id != entry->region_id) ++errors;
                        node.rcu.quiescent(0);
                        test::drop_reference(node.pool, pte_frame(pte));
                        ++reads;
                    }
                }
                node.rcu.quiescent(0);
            }
            node.rcu.offline(0);
        });
        for (int round = 0; round < 60; ++round) {
            RetireQueue retire(node.pool, node.rcu.get(), 16);
            Region& region = node.table.create("r", 40 * kPageBytes, 0, false);
            for (uint64_t page = 0; page < region.page_count; ++page)
                store(node, retire, region, page);
            rkey.store(region.data_rkey, std::memory_order_relaxed);
            for (const uint64_t seen = reads.load(); reads.load() < seen + 20;)
                std::this_thread::yield();
            node.table.destroy(region);
        }
        stop.store(true);
    }
    BOOST_TEST_MESSAGE(reads << " reads");
    BOOST_TEST(errors.load() == 0U);
    BOOST_TEST(node.pool.free_count() == 4096U);
}
