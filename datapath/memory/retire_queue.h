// SPDX-License-Identifier: BSD-3-Clause
// Frames unpublished by one lcore wait here until no lcore can still be about to take a reference.
#pragma once

#include <rte_rcu_qsbr.h>

#include <cstdint>
#include <memory>

#include "datapath/memory/frame_pool.h"

namespace lagan::memory {

// Single owner (one lcore, or the control thread). Bounded; O(1) amortised per frame.
class RetireQueue {
  public:
    RetireQueue(FramePool& pool, rte_rcu_qsbr* rcu, uint32_t capacity);

    // How many more frames may be retired before reclaim() has made room. Hot-path callers check first.
    uint32_t room() const;
    void retire(FrameIndex frame);

    // Once per poll iteration: stamps what was retired since the last call with one RCU token, and drops the frames
    // whose token has passed. Never blocks; at most `budget` drops.
    void reclaim(uint32_t budget);

    uint32_t pending() const;
};

}  // namespace lagan::memory
