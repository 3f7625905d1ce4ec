// SPDX-License-Identifier: BSD-3-Clause
// Memory that a peer offers to the other side's READs, WRITEs and atomics.
#pragma once

#include <rte_rcu_qsbr.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "datapath/memory/arena.h"
#include "datapath/memory/frame_pool.h"
#include "datapath/memory/region_table.h"
#include "datapath/memory/rkey_table.h"

namespace lagan::interop {

// What the other side needs to know of it. Addresses count from 0.
struct Offer {
    uint32_t region_id = 0;
    uint32_t rkey = 0;
    uint64_t length = 0;
};

// Bytes of this process that change in place.
class FlatMemory {
  public:
    static constexpr uint32_t kRegionId = 1;

    FlatMemory(memory::RkeyTable& rkeys, uint64_t length);

    const Offer& offer() const { return offer_; }
    std::span<std::byte> bytes() { return bytes_; }

  private:
    std::vector<std::byte> bytes_;
    Offer offer_;
};

// A region of pages in an arena, as lagand keeps its own. Made in two steps: the arena's memory has to be
// there before DPDK pins this thread.
class PagedMemory {
  public:
    PagedMemory(const std::filesystem::path& directory, uint64_t length, uint64_t slack_frames);
    ~PagedMemory();  // no engine runs any more; gives the arena's memory back
    PagedMemory(const PagedMemory&) = delete;
    PagedMemory& operator=(const PagedMemory&) = delete;

    // DPDK has started.
    void make_region(memory::RkeyTable& rkeys, rte_rcu_qsbr* rcu);

    const Offer& offer() const { return offer_; }
    memory::FramePool* frames() { return frames_.get(); }
    memory::FrameBudget* budget() { return &regions_->budget(); }

  private:
    const uint64_t length_;
    const uint64_t slack_frames_;
    memory::Arena arena_;
    std::unique_ptr<memory::FramePool> frames_;
    std::unique_ptr<memory::RegionTable> regions_;
    Offer offer_;
};

}  // namespace lagan::interop
