// SPDX-License-Identifier: BSD-3-Clause
// An appliance's memory on tmpfs: arena, pool, R_Keys, regions. One that is there already is opened.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <string>

#include "datapath/memory/region_table.h"
#include "datapath/memory/retire_queue.h"
#include "datapath/roce/crc32.h"
#include "tests/unit/memory_fixture.h"

namespace lagan::test {

// In tests that call it, `frame_bytes` stays the same, and so does the slack.
inline constexpr uint64_t kRegionSlack = 100;

struct RegionNode {
    explicit RegionNode(const std::filesystem::path& directory, uint64_t frame_bytes, uint64_t cut_frames = 0,
                        memory::Arena::Start start = memory::Arena::Start::keep)
        : arena({directory, frame_bytes, start}),
          found(memory::walk_regions(arena)),
          pool(arena.frames(), arena.frame_meta(), found.published),
          rkeys(64),
          table(arena, pool, rkeys, rcu.get(), kRegionSlack, cut_frames) {
        table.adopt(std::move(found.regions));
    }

    // A frame whose words are all `word`, with the right CRCs; kNoFrame if there is none.
    memory::FrameIndex fill(uint64_t word) {
        const memory::FrameIndex frame = pool.allocate();
        if (frame == memory::kNoFrame) return frame;
        auto* words = reinterpret_cast<uint64_t*>(pool.data(frame));
        std::fill(words, words + memory::kPageBytes / sizeof word, word);
        memory::FrameMeta& meta = pool.meta(frame);
        meta.page_crc = roce::crc32_raw(0, words, memory::kPageBytes);
        for (uint32_t& crc : meta.block_crc)  // all blocks are alike
            crc = roce::crc32_raw(0, words, memory::kBlockBytes);
        return frame;
    }
    bool store(memory::RetireQueue& retire, memory::Region& region, uint64_t page, uint64_t word) {
        const memory::FrameIndex frame = fill(word);
        if (frame == memory::kNoFrame) return false;
        memory::Pte expected = region.page_table[page].load(std::memory_order_acquire);
        memory::PublishResult result;
        do {
            result = publish_page(region, pool, retire, table.budget(), page, frame, expected);
        } while (result == memory::PublishResult::changed);
        if (result != memory::PublishResult::published) pool.release(frame);
        return result == memory::PublishResult::published;
    }
    // The first word of the page; 0 if it is absent or pending, and its bytes agree.
    uint64_t load(const memory::Region& region, uint64_t page) {
        const memory::Pte entry = region.page_table[page].load(std::memory_order_acquire);
        return memory::is_empty(entry) ? 0 : word_of(memory::pte_frame(entry));
    }
    uint64_t word_of(memory::FrameIndex frame) {
        const auto* words = reinterpret_cast<const uint64_t*>(pool.data(frame));
        BOOST_REQUIRE(roce::crc32_raw(0, words, memory::kPageBytes) == pool.meta(frame).page_crc);
        return words[0];
    }

    memory::Arena arena;
    memory::FoundRegions found;
    memory::FramePool pool;
    memory::RkeyTable rkeys;
    Rcu rcu;
    memory::RegionTable table;
};

struct ScratchArena {
    explicit ScratchArena(const std::string& name)
        : path("/dev/shm/lagan_" + name + "." + std::to_string(getpid())) {
        std::filesystem::create_directory(path);
        std::filesystem::permissions(path, std::filesystem::perms::owner_all);
    }
    ~ScratchArena() { std::filesystem::remove_all(path); }
    std::filesystem::path path;
};

}  // namespace lagan::test
