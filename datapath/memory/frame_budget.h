// SPDX-License-Identifier: BSD-3-Clause
// Keeps every region's reserve safe from the others. A region at or below its reserve may always take a
// frame; above it (overcommitted regions only) it needs a frame that no reserve has claim to.
#pragma once

#include <atomic>
#include <cstdint>

#include "datapath/memory/region.h"

namespace lagan::memory {

class FrameBudget {
  public:
    // `usable_frames`: the pool's capacity less the slack that in-flight reads, unpublished and retired
    // frames take. `cut_frames` of them go to nobody but checkpoints; fewer than half.
    explicit FrameBudget(uint64_t usable_frames, uint64_t cut_frames = 0);

    // Control thread: claims or gives back a region's reserve. False: not that much unclaimed (nothing
    // changes).
    bool reserve(uint64_t pages);
    void unreserve(uint64_t pages);

    // Control thread, before lcores see the region, which had its reserve and `pages` of it in an earlier
    // process: also out of what is kept for checkpoints now. False: there is not that much.
    bool restore(Region& region, uint64_t pages);

    // Any lcore, before a page of `region` that is absent gets a frame, and after one became absent. take()
    // counts the page in region.present; false: neither reserve nor unclaimed frames are left (answer 0x63).
    bool take(Region& region);
    void give(Region& region);

    // Any thread: frames that a checkpoint holds beside those of the page tables (cut.h), out of its own and
    // of what is unclaimed, of which `leave` stay for regions. False: nothing was taken.
    bool take_for_cut(uint64_t frames, uint64_t leave);
    void give_for_cut(uint64_t frames);

    uint64_t usable() const { return usable_ - cut_frames_; }  // by regions
    // Neither reserved nor taken above reserves.
    uint64_t unclaimed() const;

  private:
    bool claim(uint64_t frames, uint64_t leave);
    // Of cut_frames_, what no checkpoint has taken yet.
    uint64_t kept_for_cuts() const;

    // Always: usable_ == unclaimed_ + sum of reserves + sum over regions of what they hold above their
    // reserve + what checkpoints hold.
    uint64_t usable_;
    uint64_t cut_frames_;
    std::atomic<uint64_t> unclaimed_;        // atomic
    std::atomic<uint64_t> held_by_cuts_{0};  // atomic
};

}  // namespace lagan::memory
