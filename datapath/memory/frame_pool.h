// SPDX-License-Identifier: BSD-3-Clause
// The appliance's physical memory: 4 KiB frames with one cache line of metadata each.
//
// Life of a frame: allocated by one lcore (unpublished, reference count 0) → filled, CRCs kept → published in a page
// table with kPublishedRefs references → read by any lcore (each READ response holds one more) → unpublished:
// retired until every lcore has passed a quiescent state, then its page-table references are dropped → whoever
// drops the last reference returns it to the pool.
//
// Why two page-table references: rte_mbuf_ext_refcnt_update() changes a count of 1 without an atomic operation, so a
// published frame must never be at 1 while other lcores may take references (docs/concurrency.md).
#pragma once

#include <rte_mbuf.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "datapath/memory/page.h"

struct rte_ring;

namespace lagan::memory {

inline constexpr uint16_t kPublishedRefs = 2;

struct alignas(64) FrameMeta {
    rte_mbuf_ext_shared_info shinfo;     // atomic: the reference count and how to free
    uint32_t block_crc[kBlocksPerPage];  // raw CRC (initial 0) of each 1 KiB; written before publication, then constant
    uint32_t page_crc;                   // raw CRC of the whole page, combined from the four
    uint32_t region_id;                  // owner, 0: free; for checks and warm restart
    uint32_t page;                       // index in the region
    uint32_t reserved;
};
static_assert(sizeof(FrameMeta) == 64, "at most one cache line of metadata per frame");

class FramePool {
  public:
    // The pool uses memory that somebody else maps (arena.h) and that outlives it: `frames` is 4 KiB aligned,
    // `meta` has frames.size() / kPageBytes entries. All frames start free. Throws std::runtime_error when the free
    // ring cannot be made.
    FramePool(std::span<std::byte> frames, std::span<FrameMeta> meta);
    ~FramePool();
    FramePool(const FramePool&) = delete;
    FramePool& operator=(const FramePool&) = delete;

    // Any thread; O(1) from a per-lcore cache on EAL threads, else from the shared ring. kNoFrame when empty.
    // The frame's bytes are whatever they were: the caller overwrites all of them before publication.
    FrameIndex allocate();

    // Back to the pool at once: only for a frame that was never published, or whose count reached zero.
    void release(FrameIndex frame);

    // Sets the count to kPublishedRefs; call before the page-table entry is stored.
    void prepare_publication(FrameIndex frame);

    // Drops the page table's references after the grace period (RetireQueue does); frees if they were the last.
    void drop_publication(FrameIndex frame);

    // One reference for an mbuf segment. The caller is inside an RCU read-side section and has loaded the frame from a
    // page table. The mbuf's free gives it back through shinfo.free_cb.
    void reference(FrameIndex frame) { rte_mbuf_ext_refcnt_update(&meta_[frame].shinfo, 1); }

    std::byte* data(FrameIndex frame) { return frames_ + static_cast<size_t>(frame) * kPageBytes; }
    FrameMeta& meta(FrameIndex frame) { return meta_[frame]; }
    const FrameMeta& meta(FrameIndex frame) const { return meta_[frame]; }

    uint32_t capacity() const { return capacity_; }
    uint32_t free_count() const;  // approximate while lcores run

  private:
    std::byte* frames_;
    FrameMeta* meta_;
    uint32_t capacity_;
    rte_ring* free_ring_;
    // per-lcore caches: the implementer's
};

}  // namespace lagan::memory
