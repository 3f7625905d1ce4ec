// SPDX-License-Identifier: BSD-3-Clause
// A region: a thin, named range of far memory with a page table. Absent pages read as zeros.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "datapath/memory/cut.h"
#include "datapath/memory/dirty_memory.h"
#include "datapath/memory/frame_pool.h"
#include "datapath/memory/lease.h"
#include "datapath/memory/wanted_pages.h"

namespace lagan::memory {

// Page-table entry (Pte), 8 bytes in the arena: 0 absent, else frame index + 1 in the low 32 bits and flags
// above.
inline constexpr Pte kAbsent = 0;
inline constexpr Pte kPtePoisoned = 1ULL << 63;  // the frame failed its CRC, or (no frame) the entry was
                                                 // damaged: reads are refused until the next store
// The content is elsewhere, and not here yet (no frame). Only in regions that are being rebuilt; an entry
// never becomes pending again.
inline constexpr Pte kPtePending = 1ULL << 62;

constexpr Pte make_pte(FrameIndex frame) {
    return static_cast<Pte>(frame) + 1;
}
constexpr FrameIndex pte_frame(Pte pte) {
    return static_cast<FrameIndex>((pte & 0xffffffff) - 1);
}
// Absent or pending: it has no frame, and no place in the budget. (Poisoned entries have one.)
constexpr bool is_empty(Pte pte) {
    return (pte & ~kPtePending) == kAbsent;
}

// What a store or free does beside changing the page. Read anew for every page that changes: so a store that
// was sent after another one's acknowledgement can never lie before a cut that the other lies behind.
struct Phase {
    DirtyList* active;  // which list it marks
    Cut* cut;           // what keeps the page's old frame; null: no checkpoint runs
};

// Everything the datapath needs of a region, behind stable pointers. Created and destroyed by the control
// thread (region_table.h); page table and dirty list are shared by all lcores.
struct Region {
    uint32_t id;
    uint64_t size_bytes;
    uint64_t page_count;
    uint64_t reserve_pages;            // frames it is sure of; == page_count unless overcommitted
    uint64_t uid;                      // random: its identity in baselines and on other appliances
    uint64_t epoch;                    // control; constant while lcores see the region
    std::atomic<Pte>* page_table;      // atomic
    std::atomic<const Phase*> phase;   // rcu
    DirtyMemory* dirty;                // both lists and the present bitmap
    uint32_t data_rkey;                // R_Key of the pages
    uint32_t dirty_rkey;               // R_Key of the dirty list memory
    std::atomic<uint64_t> present{0};  // atomic: pages that hold a frame
    // atomic: pages whose entries are poisoned. It counts beside the region's content, whence mutable.
    mutable std::atomic<uint64_t> damaged{0};
    std::atomic<uint64_t> pending{0};  // atomic: pages whose content is not here yet
    Lease lease;                       // atomic
    WantedPages* wanted;               // rcu: of these, who asks for which; while any is pending, else null
    bool temporary;                    // control only: goes some time after its last connection
    bool restoring;                    // control only: being filled from its baseline, nobody may connect
    bool managed;                      // control only: served while its lease lasts
    bool rebuilding;                   // control only: being filled from elsewhere, and in use meanwhile
    std::string name;                  // control only

    DirtyList& active() const { return *phase.load(std::memory_order_acquire)->active; }
    // In both lists; a page that was changed before a cut and after it counts twice.
    uint64_t dirty_pages() const { return dirty->active().count() + dirty->drain().count(); }
};

// All functions below: any lcore, inside an RCU read-side section, O(1). The caller has checked retire.room()
// > 0 and page < region.page_count.
class RetireQueue;
class FrameBudget;

enum class PublishResult : uint8_t {
    published,  // the page is the frame; the frame that was there is retired, its page counted in the budget
    changed,    // another lcore was faster: nothing changed, `expected` is what is there now; the frame stays
                // the caller's
    no_frames,  // the page was empty and neither reserve nor unclaimed frames are left: the frame stays the
                // caller's
};

// Publishes a filled frame as `page` (CRCs in its metadata are set, non-temporal stores are fenced; this
// fills in owner and count): takes from the budget if the page was empty, marks the page dirty, swaps the
// entry, retires the frame that was there (poisoned or not). `expected` is the entry that the caller built
// upon.
PublishResult publish_page(Region& region, FramePool& pool, RetireQueue& retire, FrameBudget& budget,
                           uint64_t page, FrameIndex frame, Pte& expected);

// Any thread that is an RCU reader or knows that no lcore sees the region yet. Puts a page that is absent in
// place, and does not mark it dirty: a baseline has it. `frame` is filled; kNoFrame: the page is damaged, and
// refused to readers. Changed: the page was there already, and the frame stays the caller's.
PublishResult install_page(Region& region, FramePool& pool, FrameBudget& budget, uint64_t page,
                           FrameIndex frame);

// Any lcore, inside an RCU read-side section. Whether the page's content is not here yet; then it is asked
// for.
inline bool want_if_pending(const Region& region, uint64_t page) {
    if (region.page_table[page].load(std::memory_order_acquire) != kPtePending) [[likely]]
        return false;
    region.wanted->ask(page);
    return true;
}

// What the rebuilder has found of a page.
struct Settlement {
    enum class Kind : uint8_t {
        frame,    // this one; it is filled, its CRCs are in its metadata
        absent,   // nothing: zeros
        damaged,  // nothing that can be trusted: reads are refused until a store or a free
    } kind;
    FrameIndex frame = kNoFrame;
};

// Any thread that is an RCU reader. A pending page becomes what it is; `dirty`: it is not in this region's
// baseline so. Changed: a store or free was first, and the frame stays the caller's (so it does with
// no_frames).
PublishResult settle_page(Region& region, FramePool& pool, FrameBudget& budget, uint64_t page,
                          const Settlement& content, bool dirty);

// Makes the page absent (all-zero store, or FREE): marks it dirty if it was not so already, retires
// the frame, gives it back to the budget. Returns whether it held one.
bool clear_page(Region& region, RetireQueue& retire, FrameBudget& budget, uint64_t page);

// The frame's bytes are not what was stored; counted. Reads of the page are refused from now on, until a
// store or a free brings something else. False: it has come already. The frame itself may be in use no more
// by then.
bool poison_page(const Region& region, uint64_t page, FrameIndex frame);

}  // namespace lagan::memory
