// SPDX-License-Identifier: BSD-3-Clause
// Goes round all pages in an engine's idle time and compares them with their CRCs, so that memory that has
// gone bad is found before somebody needs it. The engines of an appliance share the work: each takes its
// chunks of every region.
#pragma once

#include <cstdint>

#include "datapath/memory/frame_pool.h"
#include "datapath/memory/region.h"
#include "datapath/memory/rkey_table.h"

namespace lagan {

// The owner lcore only. Never blocks, allocates or logs.
class Scrubber {
  public:
    struct Share {
        uint32_t index = 0;  // of this engine
        uint32_t engines = 1;
        uint64_t pages_per_second = 0;  // of all engines together, at most; not 0
        uint64_t tsc_hz = 0;
    };
    Scrubber(const memory::RkeyTable& rkeys, memory::FramePool& frames, const Share& share);

    // Whether the rate allows a step.
    bool due(uint64_t now_tsc) const { return now_tsc >= due_tsc_; }

    // A step is small: one page is verified, or a bounded piece of the way to the next one is done. Inside an
    // RCU read-side section. `moved` has no page; `round` is `moved` at the end of everything.
    enum class Outcome : uint8_t { moved, round, intact, damaged };
    struct Step {
        Outcome outcome;
        const memory::Region* region = nullptr;  // damaged: its page is poisoned now
        uint64_t page = 0;
    };
    Step step(uint64_t now_tsc);

  private:
    void take_turn(uint64_t now_tsc);
    Step next_region();
    Step next_page(const memory::Region& region);
    bool is_mine(uint64_t page) const;

    const memory::RkeyTable& rkeys_;
    memory::FramePool& frames_;
    const uint32_t index_;
    const uint32_t engines_;
    const uint64_t interval_tsc_;
    uint64_t due_tsc_ = 0;
    uint32_t slot_ = 0;  // of the R_Key table: the next to look at
    uint32_t rkey_ = 0;  // of the region that is being gone over; 0: none
    uint64_t page_ = 0;  // the next one in it
};

}  // namespace lagan
