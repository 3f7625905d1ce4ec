// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/memory/frame_pool.h"

#include <rte_ring.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>

#include <tbb/blocked_range.h>
#include <tbb/parallel_for.h>

namespace lagan::memory {

namespace {

constexpr uint32_t kFillBatch = 1024;      // frames moved at once, at most
constexpr uint32_t kMaxFrames = 1U << 30;  // 4 TiB; an rte_ring holds no more than 2^31 - 1

// With relaxed tail sync a control thread preempted in the midst of taking or giving does not stall the poll
// loops: they go on until it lags `lag` entries behind. What it hides meanwhile still takes room, so there is
// room for `lag` and one more batch beside all frames.
//
// Not rte_ring_create_elem(): its memory would come out of EAL's, which --no-huge set-ups keep small.
rte_ring* make_free_ring(uint32_t capacity, uint32_t lag) {
    const uint32_t count = capacity + lag + kFillBatch;
    const uint32_t slots = rte_align32pow2(count + 1);
    const ssize_t bytes = rte_ring_get_memsize_elem(sizeof(FrameIndex), slots);
    if (bytes < 0) throw std::runtime_error("frame pool: no ring of " + std::to_string(slots) + " entries");
    auto* ring = static_cast<rte_ring*>(::operator new (static_cast<size_t>(bytes), std::align_val_t{128}));
    if (rte_ring_init(ring, "lagan_frames", count, RING_F_EXACT_SZ | RING_F_MP_RTS_ENQ | RING_F_MC_RTS_DEQ) !=
        0) {
        ::operator delete (ring, std::align_val_t{128});
        throw std::runtime_error("frame pool: rte_ring_init failed for " + std::to_string(capacity) +
                                 " frames");
    }
    rte_ring_set_prod_htd_max(ring, lag);
    rte_ring_set_cons_htd_max(ring, lag);
    return ring;
}

void check_sizes(std::span<std::byte> frames, std::span<FrameMeta> meta) {
    const size_t count = frames.size() / kPageBytes;
    if (count == 0 || count > kMaxFrames || meta.size() != count)
        throw std::runtime_error("frame pool: " + std::to_string(frames.size()) + " bytes of frames with " +
                                 std::to_string(meta.size()) +
                                 " metadata entries (1 to 2^30 frames, one entry each)");
    if (reinterpret_cast<uintptr_t>(frames.data()) % kPageBytes != 0)
        throw std::runtime_error("frame pool: frames are not 4 KiB aligned");
}

}  // namespace

void FramePool::RingMemory::operator()(rte_ring* ring) const {
    ::operator delete (ring, std::align_val_t{128});
}

FramePool::FramePool(std::span<std::byte> frames, std::span<FrameMeta> meta,
                     std::span<const uint64_t> published)
    : frames_(frames.data()),
      meta_(meta.data()),
      capacity_(static_cast<uint32_t>(frames.size() / kPageBytes)) {
    check_sizes(frames, meta);
    // All caches together hold back at most a sixteenth of a small pool, and a preempted thread as much
    // again.
    const uint32_t lcores = std::max(1U, rte_lcore_count());
    cache_limit_ = std::min(kCacheFrames, capacity_ / (16 * lcores));
    const uint32_t in_caches = cache_limit_ * lcores;
    const uint32_t lag = std::max(in_caches, 1U);
    slack_frames_ = in_caches + lag;
    caches_ = std::make_unique<Cache[]>(RTE_MAX_LCORE);
    free_ring_.reset(make_free_ring(capacity_, lag));

    const auto is_published = [published](size_t frame) {
        return !published.empty() && (published[frame / 64] >> (frame % 64) & 1) != 0;
    };
    tbb::parallel_for(tbb::blocked_range<size_t>(0, capacity_, 1U << 16), [&](const auto& slice) {
        for (size_t i = slice.begin(); i < slice.end(); ++i) {
            if (!is_published(i)) meta_[i] = FrameMeta{};
            // The pointers were another process's, and so were the references of its packets.
            meta_[i].shinfo = {.free_cb = free_callback, .fcb_opaque = this, .refcnt = 0};
            if (is_published(i)) prepare_publication(static_cast<FrameIndex>(i));
        }
    });
    std::array<FrameIndex, kFillBatch> batch;
    for (uint32_t next = 0; next < capacity_;) {
        uint32_t n = 0;
        for (; n < batch.size() && next < capacity_; ++next)
            if (!is_published(next)) batch[n++] = next;
        rte_ring_enqueue_bulk_elem(free_ring_.get(), batch.data(), sizeof(FrameIndex), n, nullptr);
    }
}

FramePool::~FramePool() = default;

FrameIndex FramePool::allocate_from_ring(unsigned lcore) {
    if (lcore >= RTE_MAX_LCORE || cache_limit_ < 2) {
        FrameIndex frame;
        return rte_ring_dequeue_elem(free_ring_.get(), &frame, sizeof(frame)) == 0 ? frame : kNoFrame;
    }
    Cache& cache = caches_[lcore];
    const uint32_t got = rte_ring_dequeue_burst_elem(free_ring_.get(), cache.frames, sizeof(FrameIndex),
                                                     cache_limit_ / 2, nullptr);
    if (got == 0) return kNoFrame;
    cache.count.store(got - 1, std::memory_order_relaxed);
    return cache.frames[got - 1];
}

void FramePool::release_to_ring(unsigned lcore, FrameIndex frame) {
    // The ring has a place for every frame and for those that a lagging thread hides: no enqueue can fail.
    if (lcore >= RTE_MAX_LCORE || cache_limit_ < 2) {
        rte_ring_enqueue_elem(free_ring_.get(), &frame, sizeof(frame));
        return;
    }
    // The cache is full. The frames at its bottom have been out of use longest: they leave.
    Cache& cache = caches_[lcore];
    const uint32_t leave = cache_limit_ / 2;
    const uint32_t stay = cache_limit_ - leave;
    rte_ring_enqueue_bulk_elem(free_ring_.get(), cache.frames, sizeof(FrameIndex), leave, nullptr);
    std::memmove(cache.frames, cache.frames + leave, stay * sizeof(FrameIndex));
    cache.frames[stay] = frame;
    cache.count.store(stay + 1, std::memory_order_relaxed);
}

void FramePool::free_callback(void* buf_addr, void* pool) {
    // DPDK's count goes from 1 to 0 without an acquire; what other lcores did with the frame comes before its
    // reuse.
#ifndef __SANITIZE_THREAD__  // which knows no fences
    std::atomic_thread_fence(std::memory_order_acquire);
#endif
    auto* self = static_cast<FramePool*>(pool);
    const auto offset = static_cast<size_t>(static_cast<std::byte*>(buf_addr) - self->frames_);
    self->release(static_cast<FrameIndex>(offset / kPageBytes));
}

uint32_t FramePool::free_count() const {
    uint32_t count = rte_ring_count(free_ring_.get());
    for (unsigned i = 0; i < RTE_MAX_LCORE; ++i)
        count += caches_[i].count.load(std::memory_order_relaxed);
    return std::min(count, capacity_);
}

}  // namespace lagan::memory
