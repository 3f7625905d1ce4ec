// SPDX-License-Identifier: BSD-3-Clause
// The appliance's physical memory: 4 KiB frames with one cache line of metadata each.
//
// Life of a frame: allocated by one lcore (unpublished, reference count 0) → filled, CRCs kept → published in
// a page table with kPublishedRefs references → read by any lcore (each READ response holds one more) →
// unpublished: retired until every lcore has passed a quiescent state, then its page-table references are
// dropped → whoever drops the last reference returns it to the pool.
//
// Why two page-table references: rte_mbuf_ext_refcnt_update() changes a count of 1 without an atomic
// operation, so a published frame must never be at 1 while other lcores may take references
// (docs/concurrency.md).
#pragma once

#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_prefetch.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "datapath/memory/page.h"

struct rte_ring;

namespace lagan::memory {

inline constexpr uint16_t kPublishedRefs = 2;

struct alignas(64) FrameMeta {
    rte_mbuf_ext_shared_info shinfo;     // atomic: the reference count and how to free
    uint32_t block_crc[kBlocksPerPage];  // raw CRC (initial 0) of each 1 KiB; written before publication,
                                         // then constant
    uint32_t page_crc;                   // raw CRC of the whole page, combined from the four
    uint32_t region_id;                  // owner, 0: free; for checks and warm restart
    uint32_t page;                       // index in the region
    uint32_t reserved;
};
static_assert(sizeof(FrameMeta) == 64, "at most one cache line of metadata per frame");

// Thread-safe. Construct it after rte_eal_init() and after the lcores that will use it are known; destroy it
// after the last mbuf that references a frame is freed.
class FramePool {
  public:
    // Each EAL thread keeps up to this many free frames for itself (fewer in a small pool, see
    // cache_limit()).
    static constexpr uint32_t kCacheFrames = 512;

    // The pool uses memory that somebody else maps (arena.h) and that outlives it: `frames` is 4 KiB aligned,
    // `meta` has frames.size() / kPageBytes entries. Frames whose bit in `published` is set (an earlier
    // process's, found by region_walk.h) keep owner and CRCs and start with kPublishedRefs references; all
    // others start free. Empty: all are free. Throws std::runtime_error when the sizes do not fit each other
    // or the free ring cannot be made.
    FramePool(std::span<std::byte> frames, std::span<FrameMeta> meta,
              std::span<const uint64_t> published = {});
    ~FramePool();
    FramePool(const FramePool&) = delete;
    FramePool& operator=(const FramePool&) = delete;

    // Any thread; O(1) from a per-lcore cache on EAL threads, else from the shared ring. kNoFrame when empty.
    // The frame's bytes are whatever they were: the caller overwrites all of them before publication.
    //
    // Frames in other lcores' caches, or hidden by a preempted thread, cannot be had: kNoFrame may come while
    // up to slack_frames() are free. The frame budget leaves that many out, so within the budget allocation
    // does not fail for this reason.
    FrameIndex allocate() {
        const unsigned lcore = rte_lcore_id();
        if (lcore < RTE_MAX_LCORE) [[likely]] {
            Cache& cache = caches_[lcore];
            const uint32_t count = cache.count.load(std::memory_order_relaxed);
            if (count != 0) [[likely]] {
                cache.count.store(count - 1, std::memory_order_relaxed);
                return cache.frames[count - 1];
            }
        }
        return allocate_from_ring(lcore);
    }

    // The next `count` frames that allocate() gives to this EAL thread are about to be filled: their
    // translations and metadata are fetched. (Copies past the caches wait for the former. One line of each
    // frame comes along in vain.)
    void prefetch_free(uint32_t count) {
        const unsigned lcore = rte_lcore_id();
        if (lcore >= RTE_MAX_LCORE) return;
        const Cache& cache = caches_[lcore];
        uint32_t at = cache.count.load(std::memory_order_relaxed);
        for (count = std::min(count, at); count != 0; count--) {
            const FrameIndex frame = cache.frames[--at];
            rte_prefetch0(data(frame));
            rte_prefetch0(&meta_[frame]);
        }
    }

    // Back to the pool at once: only for a frame that was never published, or whose count reached zero.
    void release(FrameIndex frame) {
        meta_[frame].region_id = 0;
        const unsigned lcore = rte_lcore_id();
        if (lcore < RTE_MAX_LCORE) [[likely]] {
            Cache& cache = caches_[lcore];
            const uint32_t count = cache.count.load(std::memory_order_relaxed);
            if (count < cache_limit_) [[likely]] {
                cache.frames[count] = frame;
                cache.count.store(count + 1, std::memory_order_relaxed);
                return;
            }
        }
        release_to_ring(lcore, frame);
    }

    // Sets the count to kPublishedRefs; call before the page-table entry is stored.
    void prepare_publication(FrameIndex frame) {
        rte_mbuf_ext_refcnt_set(&meta_[frame].shinfo, kPublishedRefs);
    }

    // As many references again as a page table has: a checkpoint keeps the frame beside it, or instead of it.
    // The caller is inside an RCU read-side section and has loaded the frame from a page table.
    void add_publication(FrameIndex frame) {
        std::atomic_ref<uint16_t>(meta_[frame].shinfo.refcnt)
            .fetch_add(kPublishedRefs, std::memory_order_relaxed);
    }

    // Drops the page table's references after the grace period (RetireQueue does); frees if they were the
    // last.
    void drop_publication(FrameIndex frame) {
        std::atomic_ref<uint16_t> count(meta_[frame].shinfo.refcnt);
        if (count.fetch_sub(kPublishedRefs, std::memory_order_acq_rel) == kPublishedRefs) release(frame);
    }

    // One reference for an mbuf segment. The caller is inside an RCU read-side section and has loaded the
    // frame from a page table. The mbuf's free gives it back through shinfo.free_cb; the segment's buf_addr
    // lies anywhere in the frame. The count has 16 bits: no more than 65,533 segments may be in flight, so
    // size the segment pool below that.
    void reference(FrameIndex frame) { rte_mbuf_ext_refcnt_update(&meta_[frame].shinfo, 1); }

    std::byte* data(FrameIndex frame) { return frames_ + static_cast<size_t>(frame) * kPageBytes; }
    FrameMeta& meta(FrameIndex frame) { return meta_[frame]; }
    const FrameMeta& meta(FrameIndex frame) const { return meta_[frame]; }

    uint32_t capacity() const { return capacity_; }
    uint32_t free_count() const;  // approximate while lcores run

    // Most free frames that one EAL thread may hold back from the others; and that cannot be had for this or
    // any other reason.
    uint32_t cache_limit() const { return cache_limit_; }
    uint32_t slack_frames() const { return slack_frames_; }

  private:
    // A stack of free frames. Its lcore alone writes; others read `count` for free_count().
    struct alignas(64) Cache {
        std::atomic<uint32_t> count{0};
        FrameIndex frames[kCacheFrames];
    };
    struct RingMemory {
        void operator()(rte_ring* ring) const;
    };

    FrameIndex allocate_from_ring(unsigned lcore);
    void release_to_ring(unsigned lcore, FrameIndex frame);
    static void free_callback(void* buf_addr, void* pool);

    std::byte* frames_;
    FrameMeta* meta_;
    uint32_t capacity_;
    uint32_t cache_limit_;
    uint32_t slack_frames_;
    std::unique_ptr<Cache[]> caches_;                  // by lcore id
    std::unique_ptr<rte_ring, RingMemory> free_ring_;  // atomic
};

}  // namespace lagan::memory
