// SPDX-License-Identifier: BSD-3-Clause
// A region's active dirty page list as a two-level bitmap in flat, RDMA-readable memory (docs/protocol.md,
// "Dirty list memory"): a header of one page, a summary (a bit per 4096 pages, set when any of them is
// dirty), then one bit per page. Little-endian 64-bit words; page p is bit p % 64 of word p / 64.
#pragma once

#include <rte_prefetch.h>

#include <atomic>
#include <cstdint>
#include <span>

#include "datapath/memory/page.h"

namespace lagan::memory {

inline constexpr uint64_t kDirtyListMagic = 0x4c4147414e444c31;  // "LAGANDL1" when written big-endian
inline constexpr uint32_t kPagesPerSummaryBit = 4096;

// First page of the dirty list memory; all fields little-endian.
struct DirtyListHeader {
    uint64_t magic;
    uint32_t version;  // 1
    uint32_t page_bytes;
    uint64_t region_id;
    uint64_t page_count;
    std::atomic<uint64_t> epoch;
    std::atomic<uint64_t> cut_number;  // checkpoints cut so far
    uint64_t summary_offset;           // from the header's first byte, in bytes
    uint64_t active_offset;
    // a later version adds the drain list and the present bitmap behind these
};

class DirtyList {
  public:
    static uint64_t bytes_needed(uint64_t page_count);

    // Formats zeroed, 8-byte aligned memory of bytes_needed(page_count) bytes, or opens what is there (magic
    // set): throws std::runtime_error if it does not fit this region.
    DirtyList(std::span<std::byte> memory, uint64_t region_id, uint64_t page_count, uint64_t epoch);

    // Any lcore. Call before the store is published. Cheap when already marked. Release order: whoever sees
    // the page-table entry or the acknowledgement sees the mark.
    void mark(uint64_t page) {
        std::atomic<uint64_t>& word = active_[page / 64];
        const uint64_t bit = 1ULL << (page % 64);
        if ((word.load(std::memory_order_acquire) & bit) == 0) set(word, bit, page);
    }
    void prefetch(uint64_t page) const { rte_prefetch0(&active_[page / 64]); }  // mark() comes soon
    bool is_marked(uint64_t page) const {
        return (active_[page / 64].load(std::memory_order_acquire) >> (page % 64) & 1) != 0;
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

    std::span<const std::byte> memory() const { return memory_; }  // for the flat memory region

  private:
    DirtyListHeader& header() { return *reinterpret_cast<DirtyListHeader*>(memory_.data()); }
    void format(uint64_t region_id, uint64_t epoch);
    void check(uint64_t region_id) const;
    void set(std::atomic<uint64_t>& word, uint64_t bit, uint64_t page);
    uint64_t next_candidate(uint64_t page, uint32_t& word_budget) const;
    uint64_t word_at(uint64_t page) const;
    uint64_t count_marks() const;

    std::span<std::byte> memory_;
    uint64_t page_count_;
    std::atomic<uint64_t>* summary_;  // atomic
    std::atomic<uint64_t>* active_;   // atomic
    std::atomic<uint64_t> count_{0};  // atomic: marks set
};

}  // namespace lagan::memory
