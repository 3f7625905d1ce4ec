// SPDX-License-Identifier: BSD-3-Clause
#define BOOST_TEST_MODULE checkpoint
#include "mgmt/recovery/checkpoint.h"

#include <atomic>
#include <boost/test/unit_test.hpp>
#include <fstream>
#include <map>
#include <set>
#include <thread>

#include "mgmt/baseline/baseline_reader.h"
#include "mgmt/baseline/directory_store.h"
#include "mgmt/baseline/store_url.h"
#include "mgmt/recovery/restore.h"
#include "tests/unit/region_fixture.h"

using namespace lagan;
using namespace lagan::memory;
using recovery::CheckpointGivenUp;
using test::Eal;
using test::RegionNode;
namespace fs = std::filesystem;

BOOST_TEST_GLOBAL_FIXTURE(Eal);

namespace {

constexpr uint64_t kFrameBytes = 32ULL << 20;
constexpr uint64_t kCutFrames = 512;
constexpr unsigned kRcuId = 7;  // of the eight that the fixture has

using Model = std::map<uint64_t, uint64_t>;  // page → word

// A store whose server can go away.
class Unsteady final : public baseline::ObjectStore {
  public:
    explicit Unsteady(std::unique_ptr<ObjectStore> under) : under_(std::move(under)) {}
    void put(const std::string& key, std::span<const baseline::Bytes> content) override {
        check();
        under_->put(key, content);
    }
    bool put_exclusive(const std::string& key, baseline::Bytes content) override {
        check();
        return under_->put_exclusive(key, content);
    }
    void get(const std::string& key, uint64_t offset, std::span<std::byte> to) override {
        check();
        under_->get(key, offset, to);
    }
    uint64_t size_bytes(const std::string& key) override { return under_->size_bytes(key); }
    std::vector<std::string> list(const std::string& prefix) override { return under_->list(prefix); }
    std::vector<std::string> folders() override { return under_->folders(); }
    void remove(const std::string& key) override { under_->remove(key); }
    void remove_unfinished(const std::string& folder, std::chrono::seconds age) override {
        under_->remove_unfinished(folder, age);
    }
    const std::string& where() const override { return under_->where(); }

    std::atomic<int> calls_left{-1};  // until it goes away; negative: it stays

  private:
    void check() {
        if (calls_left == 0) throw baseline::StoreError(baseline::ErrorKind::unavailable, "away");
        if (calls_left > 0) --calls_left;
    }

    std::unique_ptr<ObjectStore> under_;
};

struct Bench {
    explicit Bench(uint64_t pages)
        : scratch("checkpoint_test"),
          node(scratch.path / "arena", kFrameBytes, kCutFrames),
          store(std::make_unique<Unsteady>(baseline::open_store((scratch.path / "store").string()))),
          region(node.table.create("r", pages * kPageBytes, 0, false)),
          retire(node.pool, node.rcu.get(), 1024),
          memory{.regions = node.table,
                 .frames = node.pool,
                 .rcu = node.rcu.get(),
                 .rcu_id = kRcuId,
                 .frames_in_flight = 64,
                 .damaged = [this](const Region&, uint64_t page) { damaged.insert(page); }} {}
    baseline::RegionIdentity identity(uint64_t writer = 1) const {
        return {.name = region.name,
                .uid = region.uid,
                .size_bytes = region.size_bytes,
                .epoch = region.epoch,
                .writer = writer};
    }
    void checkpoint(baseline::BaselineWriter& writer, uint64_t bytes_per_s = 0) {
        recovery::Progress progress;
        make_checkpoint(memory, region, writer, bytes_per_s, progress);
        BOOST_TEST(progress.pages == progress.pages_done);
        BOOST_TEST(region.dirty->durable_cut() == progress.cut_number);
    }
    // A new region, filled from the newest cut.
    Model restored() {
        const baseline::BaselineReader reader(*store, "r");
        Region& copy =
            node.table.create({.name = "copy", .size_bytes = region.size_bytes, .restoring = true});
        recovery::Progress progress;
        restore_pages(memory, copy, reader, progress);
        node.table.complete(copy, reader.manifest().cut_number);
        BOOST_TEST(copy.active().count() == 0U);
        Model model;
        for (uint64_t page = 0; page < copy.page_count; ++page)
            if (const uint64_t word = node.load(copy, page); word != 0) model[page] = word;
        BOOST_TEST(copy.present == model.size());
        node.table.destroy(copy);
        return model;
    }
    test::ScratchArena scratch;
    RegionNode node;
    std::unique_ptr<Unsteady> store;
    Region& region;
    RetireQueue retire;
    recovery::Memory memory;
    std::set<uint64_t> damaged;
};

void change_at_random(Bench& b, Model& model, std::mt19937_64& random, int steps) {
    for (int step = 0; step < steps; ++step) {
        const uint64_t page = random() % b.region.page_count;
        if (random() % 4 == 0) {
            clear_page(b.region, b.retire, b.node.table.budget(), page);
            model.erase(page);
        } else {
            const uint64_t word = random() | 1;
            BOOST_REQUIRE(b.node.store(b.retire, b.region, page, word));
            model[page] = word;
        }
        b.retire.reclaim(8);
    }
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_restore_has_what_the_cut_had) {
    std::mt19937_64 random(test::seed());
    Bench b(1000);
    Model model;
    auto writer = std::make_unique<baseline::BaselineWriter>(*b.store, b.identity());
    for (int round = 0; round < 8; ++round) {
        change_at_random(b, model, random, 500);
        b.checkpoint(*writer);
        BOOST_TEST(b.region.active().count() == 0U);
        BOOST_TEST((b.restored() == model));
        if (round % 3 == 2) writer = std::make_unique<baseline::BaselineWriter>(*b.store, b.identity());
    }
    b.node.table.destroy(b.region);
    b.retire.reclaim(1024);
    BOOST_TEST(b.node.pool.free_count() == b.node.pool.capacity());
    BOOST_TEST(b.node.table.budget().unclaimed() == b.node.table.budget().usable());
}

BOOST_AUTO_TEST_CASE(stores_go_on_while_it_is_written) {
    std::mt19937_64 random(test::seed());
    Bench b(1000);
    Model model;
    baseline::BaselineWriter writer(*b.store, b.identity());
    change_at_random(b, model, random, 3000);
    std::atomic<bool> stop{false};
    Model after = model;
    std::jthread storing([&] {
        const test::Lcore lcore;
        RetireQueue retire(b.node.pool, b.node.rcu.get(), 1024);
        b.node.rcu.online(0);
        // Until the cut is made nothing changes: what the baseline must have is `model`.
        while (b.region.dirty->cut_number() == 0) {
            b.node.rcu.quiescent(0);
            std::this_thread::yield();
        }
        while (b.region.phase.load()->cut == nullptr && !stop)
            b.node.rcu.quiescent(0);
        std::mt19937_64 mine(1);
        for (int step = 0; step < 200 && !stop; ++step) {
            const uint64_t page = mine() % b.region.page_count;
            b.node.store(retire, b.region, page, step + 1);
            after[page] = static_cast<uint64_t>(step) + 1;
            retire.reclaim(8);
            b.node.rcu.quiescent(0);
            std::this_thread::yield();
        }
        while (retire.pending() != 0) {
            b.node.rcu.quiescent(0);
            retire.reclaim(64);
        }
        b.node.rcu.offline(0);
    });
    b.checkpoint(writer, 4 << 20);
    stop = true;
    storing.join();
    BOOST_TEST((b.restored() == model));
    b.checkpoint(writer);
    BOOST_TEST((b.restored() == after));
}

BOOST_AUTO_TEST_CASE(a_corrupt_frame_never_reaches_the_baseline) {
    Bench b(100);
    baseline::BaselineWriter writer(*b.store, b.identity());
    for (uint64_t page = 0; page < 50; ++page)
        b.node.store(b.retire, b.region, page, page + 1);
    b.node.pool.data(pte_frame(b.region.page_table[7].load()))[1234] ^= std::byte{1};
    b.checkpoint(writer);
    BOOST_TEST((b.damaged == std::set<uint64_t>{7}));
    BOOST_TEST((b.region.page_table[7].load() & kPtePoisoned) != 0U);
    const baseline::BaselineReader reader(*b.store, "r");
    Region& copy =
        b.node.table.create({.name = "copy", .size_bytes = b.region.size_bytes, .restoring = true});
    recovery::Progress progress;
    BOOST_TEST(restore_pages(b.memory, copy, reader, progress) == 1U);
    BOOST_TEST((copy.page_table[7].load() & kPtePoisoned) != 0U);
    BOOST_TEST(b.node.load(copy, 8) == 9U);
    // Stored again it is whole again, here and in the baseline.
    b.node.store(b.retire, b.region, 7, 8);
    b.node.table.destroy(copy);
    b.checkpoint(writer);
    BOOST_TEST(b.restored().size() == 50U);
}

BOOST_AUTO_TEST_CASE(what_cannot_be_finished_leaves_everything_dirty) {
    std::mt19937_64 random(test::seed());
    Bench b(500);
    Model model;
    baseline::BaselineWriter writer(*b.store, b.identity());
    change_at_random(b, model, random, 500);
    b.checkpoint(writer);
    const Model first = model;
    change_at_random(b, model, random, 500);
    const uint64_t dirty = b.region.active().count();
    {
        recovery::Progress progress;
        progress.cancel.request_stop();
        BOOST_CHECK_THROW(make_checkpoint(b.memory, b.region, writer, 0, progress), CheckpointGivenUp);
    }
    for (const int calls : {0, 1, 3}) {
        b.store->calls_left = calls;
        recovery::Progress progress;
        BOOST_CHECK_THROW(make_checkpoint(b.memory, b.region, writer, 0, progress), baseline::StoreError);
        BOOST_TEST(b.region.active().count() == dirty);
    }
    b.store->calls_left = -1;
    BOOST_TEST(b.region.active().count() == dirty);
    BOOST_TEST(b.region.dirty->drain().count() == 0U);
    BOOST_TEST(b.region.dirty->durable_cut() == 1U);
    BOOST_TEST((b.restored() == first));
    b.retire.reclaim(1024);
    BOOST_TEST(b.node.pool.free_count() + b.region.present == b.node.pool.capacity());
    baseline::BaselineWriter again(*b.store, b.identity());
    b.checkpoint(again);
    BOOST_TEST((b.restored() == model));
}

BOOST_AUTO_TEST_CASE(a_damaged_baseline_is_named_and_not_guessed) {
    Bench b(300);
    baseline::BaselineWriter writer(*b.store, b.identity());
    for (uint64_t page = 0; page < 300; ++page)
        b.node.store(b.retire, b.region, page, page + 1);
    b.checkpoint(writer);
    for (const auto& file : fs::recursive_directory_iterator(b.scratch.path / "store" / "r" / "segments")) {
        std::fstream stream(file.path(), std::ios::in | std::ios::out | std::ios::binary);
        stream.seekp(5 * kPageBytes);
        stream.put('x');
        break;
    }
    const baseline::BaselineReader reader(*b.store, "r");
    Region& copy =
        b.node.table.create({.name = "copy", .size_bytes = b.region.size_bytes, .restoring = true});
    recovery::Progress progress;
    try {
        restore_pages(b.memory, copy, reader, progress);
        BOOST_FAIL("a damaged baseline was restored");
    } catch (const recovery::RestoreFailed& failed) {
        BOOST_TEST_MESSAGE(failed.what());
        BOOST_REQUIRE(failed.losses.size() == 1U);
        BOOST_TEST(failed.losses[0].pages.size() == 1U);
        BOOST_TEST(failed.losses[0].pages[0].count == 1U);
    }
    b.node.table.destroy(copy);
}
