// SPDX-License-Identifier: BSD-3-Clause
// Frames unpublished by one lcore wait here until no lcore can still be about to take a reference.
#pragma once

#include <rte_rcu_qsbr.h>

#include <cstdint>
#include <memory>

#include "datapath/memory/frame_pool.h"

namespace lagan::memory {

// Single owner (one lcore, or the control thread). Bounded; O(1) amortised per frame.
//
// Every lcore that reads page tables reports quiescence in its loop (and goes offline before it sleeps for
// long); the owner does so too, or its own frames never come back.
class RetireQueue {
  public:
    // Room for `capacity` frames, allocated here and never again.
    RetireQueue(FramePool& pool, rte_rcu_qsbr* rcu, uint32_t capacity);
    // Drops what is pending: all lcores have stopped.
    ~RetireQueue();
    RetireQueue(const RetireQueue&) = delete;
    RetireQueue& operator=(const RetireQueue&) = delete;

    // How many more frames may be retired before reclaim() has made room. Hot-path callers check first.
    uint32_t room() const { return capacity_ - pending(); }
    void retire(FrameIndex frame) { frames_[retired_++ & mask_] = frame; }

    // Once per poll iteration: stamps what was retired since the last call with one RCU token, and drops the
    // frames whose token has passed. Never blocks; at most `budget` drops.
    void reclaim(uint32_t budget);

    uint32_t pending() const { return retired_ - dropped_; }

  private:
    // Frames up to position `end` may go when `token` has passed.
    struct Batch {
        uint64_t token;
        uint32_t end;
    };
    // Enough for tokens in flight; when all are, newly retired frames wait for the next call and share a
    // token.
    static constexpr uint32_t kBatches = 64;

    void stamp();

    FramePool& pool_;
    rte_rcu_qsbr* rcu_;
    uint32_t capacity_;
    uint32_t mask_;  // of the storage, a power of two
    std::unique_ptr<FrameIndex[]> frames_;
    // Positions count frames since the start and wrap: dropped_ <= stamped_ <= retired_.
    uint32_t dropped_ = 0;
    uint32_t stamped_ = 0;
    uint32_t retired_ = 0;
    Batch batches_[kBatches];
    uint32_t batch_first_ = 0;
    uint32_t batch_end_ = 0;
};

}  // namespace lagan::memory
