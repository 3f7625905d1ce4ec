// SPDX-License-Identifier: BSD-3-Clause
// Whether a region may be served, and until when. A region that a manager looks after is served while its
// lease lasts; once fenced it never is again.
#pragma once

#include <rte_rcu_qsbr.h>

#include <atomic>
#include <cstdint>

namespace lagan::memory {

class Lease {
  public:
    // Any lcore. Nothing of the region may be answered at this time, but to whoever recovers it.
    bool is_over(uint64_t now_tsc) const { return now_tsc >= until_.load(std::memory_order_relaxed); }
    bool is_managed() const { return until_.load(std::memory_order_relaxed) != kUnmanaged; }
    bool is_fenced() const { return until_.load(std::memory_order_relaxed) == kFenced; }

    // Control thread. It lasts until then at least; what it was for before is not taken back. False: the
    // region is fenced.
    bool renew(uint64_t until_tsc) {
        uint64_t now = until_.load(std::memory_order_relaxed);
        do {
            if (now == kFenced) return false;
            if (now != kUnmanaged && now >= until_tsc) return true;
        } while (!until_.compare_exchange_weak(now, until_tsc));
        return true;
    }
    // Control thread. It is over, until it is renewed; also the first state of a region that a manager looks
    // after.
    void end() {
        uint64_t now = until_.load(std::memory_order_relaxed);
        while (now != kFenced && !until_.compare_exchange_weak(now, kOver)) {
        }
    }

    // Any thread: over for good. False: it was so already.
    bool fence(rte_rcu_qsbr* rcu) {
        if (until_.exchange(kFenced) == kFenced) return false;
        fence_token_.store(rte_rcu_qsbr_start(rcu), std::memory_order_release);
        return true;
    }
    // Before lcores see the region: an earlier process had fenced it, or nobody can store to it here.
    void was_fenced() {
        until_ = kFenced;
        fence_token_ = kOldestToken;
    }
    // An RCU reader, between two quiescent states of its own. Whether every lcore has seen the fence: what it
    // had begun before is done, marked and published.
    bool has_settled(rte_rcu_qsbr* rcu) const {
        const uint64_t token = fence_token_.load(std::memory_order_acquire);
        return token != 0 && rte_rcu_qsbr_check(rcu, token, false) == 1;
    }

  private:
    static constexpr uint64_t kFenced = 0;
    static constexpr uint64_t kOver = 1;  // not kFenced: that cannot be renewed
    static constexpr uint64_t kUnmanaged = ~0ULL;
    static constexpr uint64_t kOldestToken = 1;  // of any RCU variable

    std::atomic<uint64_t> until_{kUnmanaged};  // atomic: TSC
    std::atomic<uint64_t> fence_token_{0};     // atomic: 0 until the fence is there
};

}  // namespace lagan::memory
