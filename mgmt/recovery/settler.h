// SPDX-License-Identifier: BSD-3-Clause
// Pages that have come for a region that is being rebuilt: checked, given their CRCs, and put in place unless
// a client was faster. Any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "mgmt/baseline/baseline.h"
#include "mgmt/recovery/rebuild.h"

namespace lagan::recovery {

class Settler {
  public:
    Settler(const Memory& memory, memory::Region& region, RebuildProgress& progress)
        : memory_(memory), region_(region), progress_(progress) {}

    bool is_pending(uint64_t page) const {
        return region_.page_table[page].load(std::memory_order_acquire) == memory::kPtePending;
    }
    const std::string& region() const { return region_.name; }
    // Neither pending nor absent.
    bool holds(uint64_t page) const {
        return !memory::is_empty(region_.page_table[page].load(std::memory_order_acquire));
    }
    uint64_t pages() const { return region_.page_count; }
    uint64_t pending() const { return region_.pending.load(std::memory_order_acquire); }

    // The page's bytes are in a frame of the caller's, which is taken or given back to the pool. Zeros take
    // none. `dirty`: the baseline does not have it so. All throw RebuildFailed when there is no memory left.
    void put_frame(uint64_t page, memory::FrameIndex frame, bool dirty);
    // Data or damaged, from the baseline.
    void put_copy(const baseline::StoredPage& page);
    void put_absent(uint64_t page, bool dirty);
    // No baseline has it, whether it is here already or not.
    void mark_dirty(uint64_t page) { region_.active().mark(page); }
    // Whether it came to that.
    bool put_damaged(uint64_t page, bool dirty);

  private:
    memory::FrameIndex allocate() const;
    bool settle(uint64_t page, const memory::Settlement& content, bool dirty);
    void note_first_page();

    const Memory& memory_;
    memory::Region& region_;
    RebuildProgress& progress_;
    const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace lagan::recovery
