// SPDX-License-Identifier: BSD-3-Clause
// One dirty page list: a two-level bitmap in flat, RDMA-readable memory (docs/protocol.md, "Dirty list
// memory"). A summary (a bit per 4096 pages, set when any of them is dirty), then one bit per page.
// Little-endian 64-bit words; page p is bit p % 64 of word p / 64. dirty_memory.h puts a region's two lists
// together.
#pragma once

#include <rte_prefetch.h>

#include <atomic>
#include <cstdint>
#include <span>

#include "datapath/memory/page.h"

namespace lagan::memory {

inline constexpr uint32_t kPagesPerSummaryBit = 4096;

class DirtyList {
  public:
    // Each a whole number of 4 KiB pages, so that a reader's transfers are aligned.
    static uint64_t summary_bytes(uint64_t page_count);
    static uint64_t bitmap_bytes(uint64_t page_count);

    // Over zeroed memory, or over what an earlier process left, whose marks are kept. 8-byte aligned, of the
    // sizes above; outlives the list.
    DirtyList(std::byte* summary, std::byte* bitmap, uint64_t page_count);

    // Any lcore. Call before the store is published. Cheap when already marked. Release order: whoever sees
    // the page-table entry or the acknowledgement sees the mark.
    void mark(uint64_t page) {
        std::atomic<uint64_t>& word = bitmap_[page / 64];
        const uint64_t bit = 1ULL << (page % 64);
        if ((word.load(std::memory_order_acquire) & bit) == 0) set(word, bit, page);
    }
    void prefetch(uint64_t page) const { rte_prefetch0(&bitmap_[page / 64]); }  // mark() comes soon
    bool is_marked(uint64_t page) const {
        return (bitmap_[page / 64].load(std::memory_order_acquire) >> (page % 64) & 1) != 0;
    }

    // Number of dirty pages; O(1). A mark that another lcore is just setting may not be in it yet.
    uint64_t count() const { return count_.load(std::memory_order_relaxed); }

    struct Range {
        uint64_t first_page;
        uint64_t page_count;
    };
    // Fills `out` with dirty ranges from `cursor` on, looking at no more than `word_budget` bitmap words (at
    // least two, so that every call gets on). Returns the number of ranges; `cursor` becomes the page to go
    // on from, or page_count at the end. Neighbouring pages make one range within a call, not across calls.
    size_t ranges(uint64_t& cursor, std::span<Range> out, uint32_t word_budget) const;

    // One thread, while no lcore marks this list (others may read it over RDMA and see any part of the work
    // done).
    void add(const DirtyList& other);  // marks here what is marked there; lcores may mark here meanwhile
    void clear();

  private:
    void set(std::atomic<uint64_t>& word, uint64_t bit, uint64_t page);
    uint64_t next_candidate(uint64_t page, uint32_t& word_budget) const;
    uint64_t word_at(uint64_t page) const;
    uint64_t count_marks() const;

    std::atomic<uint64_t>* summary_;  // atomic
    std::atomic<uint64_t>* bitmap_;   // atomic
    uint64_t page_count_;
    std::atomic<uint64_t> count_{0};  // atomic: marks set
};

}  // namespace lagan::memory
