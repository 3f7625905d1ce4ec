// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/memory/retire_queue.h"

#include <rte_prefetch.h>

#include <algorithm>
#include <bit>
#include <stdexcept>

namespace lagan::memory {

namespace {

constexpr uint32_t kPrefetchAhead = 8;

}  // namespace

RetireQueue::RetireQueue(FramePool& pool, rte_rcu_qsbr* rcu, uint32_t capacity)
    : pool_(pool), rcu_(rcu), capacity_(capacity) {
    if (capacity == 0 || capacity > (1U << 30))
        throw std::invalid_argument("retire queue: capacity must be 1 to 2^30");
    const uint32_t slots = std::bit_ceil(capacity);
    mask_ = slots - 1;
    frames_ = std::make_unique<FrameIndex[]>(slots);
}

RetireQueue::~RetireQueue() {
    while (dropped_ != retired_)
        pool_.drop_publication(frames_[dropped_++ & mask_]);
}

void RetireQueue::stamp() {
    if (stamped_ == retired_ || batch_end_ - batch_first_ == kBatches) return;
    batches_[batch_end_++ % kBatches] = {rte_rcu_qsbr_start(rcu_), retired_};
    stamped_ = retired_;
}

void RetireQueue::reclaim(uint32_t budget) {
    stamp();
    while (batch_first_ != batch_end_ && budget != 0) {
        const Batch& batch = batches_[batch_first_ % kBatches];
        if (rte_rcu_qsbr_check(rcu_, batch.token, false) == 0) return;
        const uint32_t drops = std::min(budget, batch.end - dropped_);
        for (uint32_t i = 0; i < drops; ++i) {
            // Metadata of pages overwritten at random is in no cache. Past the end lies some older frame's
            // index.
            rte_prefetch0(&pool_.meta(frames_[(dropped_ + kPrefetchAhead) & mask_]));
            pool_.drop_publication(frames_[dropped_++ & mask_]);
        }
        budget -= drops;
        if (dropped_ == batch.end) ++batch_first_;
    }
}

}  // namespace lagan::memory
