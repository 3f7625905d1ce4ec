// SPDX-License-Identifier: BSD-3-Clause
// lagan: hot-path
#include "datapath/scrubber.h"

#include <algorithm>

#include "datapath/frame_check.h"

namespace lagan {

using memory::MemoryRegion;
using memory::Pte;

namespace {

inline constexpr uint64_t kChunkPages = memory::kChunkBytes / memory::kPageBytes;
inline constexpr uint32_t kSlotsPerStep = 64;
inline constexpr uint32_t kEntriesPerStep = 512;  // of a page table: one page of it
inline constexpr uint64_t kMaxBurst = 8;          // steps that may be made up for after a sleep or work

}  // namespace

Scrubber::Scrubber(const memory::RkeyTable& rkeys, memory::FramePool& frames, const Share& share)
    : rkeys_(rkeys),
      frames_(frames),
      index_(share.index),
      engines_(std::max(share.engines, 1U)),
      interval_tsc_(std::max<uint64_t>(1, share.tsc_hz * engines_ / share.pages_per_second)) {}

// What was missed is made up for, but no more than a little of it: work comes first, and it may take long.
void Scrubber::take_turn(uint64_t now_tsc) {
    const uint64_t earliest = now_tsc - std::min(now_tsc, kMaxBurst * interval_tsc_);
    due_tsc_ = std::max(due_tsc_, earliest) + interval_tsc_;
}

Scrubber::Step Scrubber::step(uint64_t now_tsc) {
    take_turn(now_tsc);
    const MemoryRegion* memory = rkeys_.find(rkey_);
    if (memory == nullptr || memory->kind != MemoryRegion::Kind::paged) return next_region();
    return next_page(*memory->region);
}

Scrubber::Step Scrubber::next_region() {
    rkey_ = 0;
    page_ = 0;
    for (uint32_t i = 0; i < kSlotsPerStep; i++) {
        if (slot_ == rkeys_.slots()) {
            slot_ = 0;
            return {Outcome::round};
        }
        const MemoryRegion* memory = rkeys_.at(slot_++);
        if (memory == nullptr || memory->kind != MemoryRegion::Kind::paged) continue;
        rkey_ = memory->rkey;
        break;
    }
    return {Outcome::moved};
}

// Regions of one chunk are spread, too.
bool Scrubber::is_mine(uint64_t page) const {
    return (page / kChunkPages + slot_) % engines_ == index_;
}

Scrubber::Step Scrubber::next_page(const memory::Region& region) {
    for (uint32_t i = 0; i < kEntriesPerStep && page_ < region.page_count; i++) {
        if (!is_mine(page_)) {
            page_ = (page_ / kChunkPages + 1) * kChunkPages;
            continue;
        }
        const uint64_t page = page_++;
        const Pte entry = region.page_table[page].load(std::memory_order_acquire);
        const memory::FrameIndex frame = memory::pte_frame(entry);
        // Absent, poisoned, or nothing that has a frame.
        if (entry != memory::make_pte(frame) || frame >= frames_.capacity()) continue;
        if (frame_is_intact(frames_, frame)) return {Outcome::intact};
        if (memory::poison_page(region, page, frame)) return {Outcome::damaged, &region, page};
        return {Outcome::moved};  // stored again meanwhile
    }
    if (page_ >= region.page_count) rkey_ = 0;
    return {Outcome::moved};
}

}  // namespace lagan
