// SPDX-License-Identifier: BSD-3-Clause
// A region: a thin, named range of far memory with a page table. Absent pages read as zeros.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "datapath/memory/dirty_list.h"
#include "datapath/memory/frame_pool.h"

namespace lagan::memory {

// Page-table entry, 8 bytes in the arena: 0 absent, else frame index + 1 in the low 32 bits and flags above.
using Pte = uint64_t;
inline constexpr Pte kAbsent = 0;
inline constexpr Pte kPtePoisoned = 1ULL << 63;  // the frame failed its CRC: reads are refused until the next store
constexpr Pte make_pte(FrameIndex frame) { return static_cast<Pte>(frame) + 1; }
constexpr FrameIndex pte_frame(Pte pte) { return static_cast<FrameIndex>((pte & 0xffffffff) - 1); }

// Everything the datapath needs of a region, behind stable pointers. Created and destroyed by the control thread
// (region_table.h); page table and dirty list are shared by all lcores.
struct Region {
    uint32_t id;
    uint64_t size_bytes;
    uint64_t page_count;
    uint64_t reserve_pages;            // frames it is sure of; == page_count unless overcommitted
    uint64_t epoch;                    // control; constant while lcores see the region
    std::atomic<Pte>* page_table;      // atomic
    DirtyList* active;                 // atomic bits
    uint32_t data_rkey;                // R_Key of the pages
    uint32_t dirty_rkey;               // R_Key of the dirty list memory
    std::atomic<uint64_t> present{0};  // atomic: pages that hold a frame
    std::atomic<bool> frozen{false};   // stores refused
    std::string name;                  // control only
};

// Result of putting a page in or out. All functions below: any lcore, inside an RCU read-side section, O(1).
class RetireQueue;
class FrameBudget;

// Publishes a filled frame as `page` (CRCs in its metadata are set; this fills in owner and count): marks the page
// dirty, swaps the entry, retires the frame that was there. `expected` is the entry that the caller built
// upon; when another lcore was faster, nothing changes, false is returned and `expected` is what is there now.
// The caller has checked retire.room().
bool publish_page(Region& region, FramePool& pool, RetireQueue& retire, uint64_t page, FrameIndex frame, Pte& expected);

// Makes the page absent (all-zero store, or FREE): marks it dirty if it held a frame, retires the frame.
// Returns whether it held one. The caller has checked retire.room().
bool clear_page(Region& region, RetireQueue& retire, uint64_t page);

}  // namespace lagan::memory
