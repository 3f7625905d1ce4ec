// SPDX-License-Identifier: BSD-3-Clause
// A region's old home, which is a real engine with a store of baselines in a directory, and the memory of its
// new one.
#pragma once

#include <rte_malloc.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "datapath/memory/retire_queue.h"
#include "datapath/roce/crc32.h"
#include "mgmt/baseline/baseline_writer.h"
#include "mgmt/baseline/directory_store.h"
#include "mgmt/recovery/rebuild.h"
#include "tests/protocol/peer_fixture.h"
#include "tests/support/loopback_source.h"

namespace lagan::test {

using namespace lagan::recovery;
using memory::kPageBytes;
using memory::Pte;
using roce::WorkStatus;

inline constexpr uint64_t kPages = 9'000;  // three chunks of a dirty list
inline constexpr uint64_t kWriter = 0xaaaa, kNewWriter = 0xbbbb;

using Contents = std::map<uint64_t, uint8_t>;  // page → seed of its pattern; others are zeros

struct Scratch {
    Scratch() : path("/dev/shm/lagan-rebuild-" + std::to_string(getpid())) {
        std::filesystem::create_directory(path);
    }
    ~Scratch() { std::filesystem::remove_all(path); }
    std::filesystem::path path;
};

// The old home, and its store of baselines.
struct OldHome {
    OldHome() : region(link.make_region("heap", kPages * kPageBytes)), writer(link.connect(region)) {
        std::filesystem::create_directory(scratch.path / "store");
        store = std::make_unique<baseline::DirectoryStore>(scratch.path / "store");
    }
    void put(uint64_t page, uint8_t seed) {
        const Bytes bytes = pattern(kPageBytes, seed);
        BOOST_REQUIRE(link.write(writer, region.data_rkey, page * kPageBytes, bytes.data(), kPageBytes) ==
                      WorkStatus::success);
        now[page] = seed;
        changed.insert(page);
    }
    // Zeros make a page absent.
    void free(uint64_t page) {
        const Bytes bytes(kPageBytes);
        BOOST_REQUIRE(link.write(writer, region.data_rkey, page * kPageBytes, bytes.data(), kPageBytes) ==
                      WorkStatus::success);
        if (now.erase(page) != 0) changed.insert(page);
    }
    void put_some(std::mt19937_64& random, int count) {
        for (int i = 0; i < count; ++i)
            put(random() % kPages, static_cast<uint8_t>(random()));
    }
    void checkpoint() {
        const LoopbackSource polled(link, region);
        const Memory memory{.regions = *link.regions,
                            .frames = *link.frames,
                            .rcu = link.server_rcu,
                            .rcu_id = 1,
                            .frames_in_flight = 64,
                            .damaged = {}};
        baseline::BaselineWriter out(*store, {.name = "heap",
                                              .uid = region.uid,
                                              .size_bytes = region.size_bytes,
                                              .epoch = region.epoch,
                                              .writer = kWriter});
        Progress progress;
        make_checkpoint(memory, region, out, 0, progress);
        at_cut = now;
        changed.clear();
    }

    Scratch scratch;
    Loopback link{{.frame_bytes = 128ULL << 20,
                   .ack_timeout = 7,
                   .retry_count = 3,
                   .responder_resources = 128,
                   .initiator_depth = 128,
                   .serve_capsules = false}};
    memory::Region& region;
    Loopback::Pair writer;
    std::unique_ptr<baseline::ObjectStore> store;
    Contents now, at_cut;
    std::set<uint64_t> changed;  // since the cut
};

// The new home: memory of its own.
struct NewHome {
    explicit NewHome(const OldHome& old, uint64_t frame_bytes = 128ULL << 20, uint64_t epochs_later = 1)
        : path(old.scratch.path / "arena"),
          arena({.directory = path, .frame_bytes = frame_bytes}),
          frames(arena.frames(), arena.frame_meta()),
          rkeys(64),
          rcu(make_rcu(1)),
          table(arena, frames, rkeys, rcu, 1024, frames.capacity() / 8),
          region(table.create({.name = "heap",
                               .size_bytes = old.region.size_bytes,
                               .overcommit = true,
                               .rebuilding = true,
                               .uid = old.region.uid,
                               .epoch = old.region.epoch + epochs_later})),
          memory{table, frames, rcu, RTE_QSBR_THRID_INVALID, 0, {}} {}
    ~NewHome() {
        table.destroy(region);
        rte_free(rcu);
    }
    RebuildRequest request(bool source, bool baseline) const {
        RebuildRequest wanted{.region = "heap",
                              .uid = region.uid,
                              .epoch = region.epoch,
                              .size_bytes = region.size_bytes,
                              .baseline = baseline};
        if (source) wanted.source = SourceAddress{"10.0.0.1", 7471, {}};
        return wanted;
    }
    uint64_t run(const Connect& connect, baseline::ObjectStore* store, const RebuildRequest& wanted) {
        progress.source = wanted.source;
        return rebuild({memory, connect, store, kNewWriter, workers, events, patience}, region, wanted,
                       progress);
    }
    // A client's store.
    void put(uint64_t page, uint8_t seed) {
        const memory::FrameIndex frame = frames.allocate();
        BOOST_REQUIRE(frame != memory::kNoFrame);
        const Bytes bytes = pattern(kPageBytes, seed);
        std::memcpy(frames.data(frame), bytes.data(), kPageBytes);
        fill(frame);
        Pte expected = region.page_table[page].load();
        memory::PublishResult result;
        do {
            result = publish_page(region, frames, retire, table.budget(), page, frame, expected);
        } while (result == memory::PublishResult::changed);
        BOOST_REQUIRE(result == memory::PublishResult::published);
    }
    void fill(memory::FrameIndex frame) {
        memory::FrameMeta& meta = frames.meta(frame);
        meta.page_crc = roce::crc32_raw(0, frames.data(frame), kPageBytes);
        for (uint32_t i = 0; i < memory::kBlocksPerPage; ++i)
            meta.block_crc[i] =
                roce::crc32_raw(0, frames.data(frame) + i * memory::kBlockBytes, memory::kBlockBytes);
    }
    void check(const Contents& expected, const std::set<uint64_t>& dirty) {
        BOOST_TEST(region.pending.load() == 0U);
        for (uint64_t page = 0; page < kPages; ++page) {
            const Pte entry = region.page_table[page].load();
            const auto wanted = expected.find(page);
            BOOST_TEST_INFO("page " << page);
            BOOST_TEST_REQUIRE(region.active().is_marked(page) == dirty.contains(page));
            if (wanted == expected.end()) {
                BOOST_TEST_REQUIRE(entry == memory::kAbsent);
                continue;
            }
            BOOST_TEST_REQUIRE((entry & memory::kPtePoisoned) == 0U);
            const memory::FrameIndex frame = memory::pte_frame(entry);
            const Bytes bytes = pattern(kPageBytes, wanted->second);
            BOOST_TEST_REQUIRE(std::memcmp(frames.data(frame), bytes.data(), kPageBytes) == 0);
            const memory::FrameMeta meta = frames.meta(frame);
            fill(frame);
            BOOST_TEST_REQUIRE(meta.page_crc == frames.meta(frame).page_crc);
            BOOST_TEST_REQUIRE(std::equal(meta.block_crc, meta.block_crc + 4, frames.meta(frame).block_crc));
            BOOST_TEST_REQUIRE(meta.page == page);
        }
        // No frame is lost, and none is claimed.
        retire.reclaim(kPages);
        BOOST_TEST(frames.capacity() - frames.free_count() == region.present.load() + retire.pending());
        BOOST_TEST(table.budget().unclaimed() == table.budget().usable() - region.present.load());
    }
    std::vector<std::string> told() const {
        std::vector<std::string> kinds;
        for (const Event& event : events.after(0))
            kinds.push_back(event.kind);
        return kinds;
    }

    std::filesystem::path path;
    memory::Arena arena;
    memory::FramePool frames;
    memory::RkeyTable rkeys;
    rte_rcu_qsbr* rcu;
    memory::RegionTable table;
    memory::Region& region;
    memory::RetireQueue retire{frames, rcu, 1024};
    Memory memory;
    Workers workers{{0}};
    EventLog events{[](const Event&) {}};
    RebuildProgress progress;
    std::chrono::milliseconds patience{15'000};
};

}  // namespace lagan::test
