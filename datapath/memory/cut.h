// SPDX-License-Identifier: BSD-3-Clause
// The pages of a running checkpoint, as they were at its cut. A store or free of a page that the checkpoint
// has not taken yet leaves the page's frame here; nothing is copied.
//
// One entry per page, changed once, from untouched: by the first store after the cut (keep(), which happens
// before the page-table entry changes) or by the checkpoint (take()). Whoever is first decides, so that a
// page goes into the baseline as it was at the cut and never as something in between.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "datapath/memory/dirty_list.h"
#include "datapath/memory/frame_pool.h"

namespace lagan::memory {

using Pte = uint64_t;
class FrameBudget;

class Cut {
  public:
    // `drain`: the pages of the cut, constant from settle() on. `in_flight`: frames that the checkpoint holds
    // at once at most. Their room in the budget is taken here and given back by the destructor. Throws
    // std::runtime_error when there is none. The checkpoint's thread. The cut keeps at most the frames that
    // are there for checkpoints and half of what is unclaimed now: regions above their reserve go on getting
    // frames.
    Cut(FramePool& pool, FrameBudget& budget, const DirtyList& drain, uint64_t page_count,
        uint32_t in_flight);
    ~Cut();
    Cut(const Cut&) = delete;
    Cut& operator=(const Cut&) = delete;

    // All lcores know of the cut: nobody marks the drain list any more. Until then a page that is not in it
    // may still get there, and every page's frame is kept.
    void settle() { settled_.store(true, std::memory_order_relaxed); }

    // Any lcore, inside an RCU read-side section, before it changes the page-table entry. When there is no
    // room to keep the frame, the cut is broken and the store goes on.
    void keep(const std::atomic<Pte>& page_entry, uint64_t page);

    // A page's content at the cut. With a frame: the caller owns one publication of it, for release().
    struct Content {
        enum class Kind : uint8_t { frame, absent, damaged } kind;
        FrameIndex frame;
        bool was_kept;  // by a store, and not read from the page table
    };
    // The checkpoint, once per page of the drain list, as an RCU reader; at most `in_flight` contents are not
    // released. Thread-safe.
    Content take(const std::atomic<Pte>& page_entry, uint64_t page);
    void release(const Content& content);

    // A frame could not be kept: the cut is not whole, and the checkpoint must be given up.
    bool broken() const { return broken_.load(std::memory_order_acquire); }

  private:
    using Entry = uint32_t;  // frame + 1, or:
    static constexpr Entry kUntouched = 0;
    static constexpr Entry kTaken = 0xffffffff;
    static constexpr Entry kAbsentThen = 0xfffffffe;
    static constexpr Entry kDamagedThen = 0xfffffffd;

    FramePool& pool_;
    FrameBudget& budget_;
    const DirtyList& drain_;
    uint64_t page_count_;
    uint32_t in_flight_;
    uint64_t leave_;  // frames that stay unclaimed, for regions
    struct Unmap {
        size_t bytes;
        void operator()(std::atomic<Entry>* entries) const;
    };
    std::unique_ptr<std::atomic<Entry>[], Unmap> entries_;  // atomic
    std::atomic<bool> settled_{false};                      // atomic
    std::atomic<bool> broken_{false};                       // atomic
};

}  // namespace lagan::memory
