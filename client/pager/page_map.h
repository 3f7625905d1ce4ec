// SPDX-License-Identifier: BSD-3-Clause
// The state of every page of the mapping: one byte a page.
//
//                 fault, zeros                      protect, WRITE                 acknowledged
//        empty ─────────────────► local ───────────────────────────► storing ─────────────────► cached
//          ▲                        ▲ ▲                                 │ write                    │ drop
//          │ removed (any state)    │ └───────── acknowledged, FREE ◄── storing_written            ▼
//          │                        │ write: FREE                                                remote
//          └──                      ├──────────────── cached ◄── READ done ── reading ◄── fault ───┤
//                                   └────────── READ done, FREE ── reading_write ◄── write fault ──┘
#pragma once

#include <cstdint>
#include <vector>

namespace lagan::client::pager {

enum class PageState : uint8_t {
    empty,            // absent here, nothing at the appliance: reads as zeros
    remote,           // absent here, the appliance has it
    reading,          // READ outstanding; will be cached
    reading_write,    // READ outstanding; will be local
    reading_removed,  // READ outstanding; the program has given the page up meanwhile
    zero,             // here, protected, all zeros; nothing at the appliance
    cached,           // here, protected, same content at the appliance
    local,            // here, writable; the only live copy
    storing,          // here, protected; WRITE outstanding
    storing_written,  // here, writable; WRITE outstanding of an older content
    storing_removed,  // absent here; WRITE outstanding of what the program has given up
};

constexpr bool is_resident(PageState state) {
    return state == PageState::zero || state == PageState::cached || state == PageState::local ||
           state == PageState::storing || state == PageState::storing_written;
}

constexpr bool is_reading(PageState state) {
    return state == PageState::reading || state == PageState::reading_write ||
           state == PageState::reading_removed;
}

class PageMap {
  public:
    explicit PageMap(uint32_t page_count) : entries_(page_count) {}

    uint32_t page_count() const { return static_cast<uint32_t>(entries_.size()); }
    // Pages that hold local memory, and those that will when their READ is done.
    uint32_t resident() const { return resident_; }
    uint32_t committed() const { return resident_ + reading_; }

    PageState state(uint32_t page) const { return static_cast<PageState>(entries_[page] & kStateMask); }

    void set_state(uint32_t page, PageState to) {
        const PageState from = state(page);
        resident_ = resident_ - (is_resident(from) ? 1u : 0u) + (is_resident(to) ? 1u : 0u);
        reading_ = reading_ - (is_reading(from) ? 1u : 0u) + (is_reading(to) ? 1u : 0u);
        entries_[page] = static_cast<uint8_t>((entries_[page] & ~kStateMask) | static_cast<uint8_t>(to));
    }

    // In the resident queue.
    bool queued(uint32_t page) const { return (entries_[page] & kQueued) != 0; }
    void set_queued(uint32_t page, bool on) { set_flag(page, kQueued, on); }

    // The appliance still has an old copy that a FREE, not sent yet, will give back.
    bool free_pending(uint32_t page) const { return (entries_[page] & kFreePending) != 0; }
    void set_free_pending(uint32_t page, bool on) { set_flag(page, kFreePending, on); }

    // How often the page will still be fetched writable because of what happened before: a page that was read
    // and then written is likely to be treated so again, and fetching it writable saves the second fault.
    bool take_write_prediction(uint32_t page) {
        if (entries_[page] < kPredictionUnit) return false;
        entries_[page] = static_cast<uint8_t>(entries_[page] - kPredictionUnit);
        return true;
    }
    void predict_writes(uint32_t page) {
        entries_[page] = static_cast<uint8_t>(entries_[page] | kPredictionMask);
    }

  private:
    static constexpr uint8_t kStateMask = 0x0f;
    static constexpr uint8_t kQueued = 0x10;
    static constexpr uint8_t kFreePending = 0x20;
    static constexpr uint8_t kPredictionUnit = 0x40;
    static constexpr uint8_t kPredictionMask = 0xc0;

    void set_flag(uint32_t page, uint8_t flag, bool on) {
        entries_[page] = static_cast<uint8_t>(on ? entries_[page] | flag : entries_[page] & ~flag);
    }

    std::vector<uint8_t> entries_;
    uint32_t resident_ = 0;
    uint32_t reading_ = 0;
};

}  // namespace lagan::client::pager
