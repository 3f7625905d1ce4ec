// SPDX-License-Identifier: BSD-3-Clause
// A region's active dirty page list as a two-level bitmap in flat, RDMA-readable memory (docs/protocol.md, "Dirty list
// memory"): a header of one page, a summary (a bit per 4096 pages, set when any of them is dirty), then one
// bit per page. Little-endian 64-bit words; page p is bit p % 64 of word p / 64.
#pragma once

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
    uint32_t version;    // 1
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

    // Formats zeroed memory of bytes_needed(page_count) bytes, or opens what is there (magic set): throws
    // std::runtime_error if it does not fit this region.
    DirtyList(std::span<std::byte> memory, uint64_t region_id, uint64_t page_count, uint64_t epoch);

    // Any lcore. Call before the store is published. Cheap when already marked. Release order: whoever sees the
    // page-table entry or the acknowledgement sees the mark.
    void mark(uint64_t page);
    bool is_marked(uint64_t page) const;

    // Number of dirty pages; walks the summary, so its cost follows what is dirty.
    uint64_t count() const;

    struct Range {
        uint64_t first_page;
        uint64_t page_count;
    };
    // Fills `out` with dirty ranges from `cursor` on, looking at no more than `word_budget` bitmap words. Returns the
    // number of ranges; `cursor` becomes the page to go on from, or page_count at the end.
    size_t ranges(uint64_t& cursor, std::span<Range> out, uint32_t word_budget) const;

    std::span<const std::byte> memory() const;  // for the flat memory region
};

}  // namespace lagan::memory
