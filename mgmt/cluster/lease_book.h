// SPDX-License-Identifier: BSD-3-Clause
// Which leases may be valid: the book-keeping that two copies of a region never both serve rests on. It never
// looks at a clock itself.
//
// A lease ends `ttl` after its base on the node's clock. The base is a time that the node itself has said in
// an earlier answer, so it ends at most `ttl` after we received that answer, however late the heartbeat with
// the lease is sent or carried out. docs/failover.md has the argument; tests/model checks it.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace lagan::cluster {

using Clock = std::chrono::steady_clock;

// One copy of a region: the epoch tells it from every other one.
struct Copy {
    std::string region;
    std::string uid;
    uint64_t epoch = 0;
    auto operator<=>(const Copy&) const = default;
};

// Any thread.
class LeaseBook {
  public:
    explicit LeaseBook(std::chrono::milliseconds ttl);

    // ---- Leadership ----

    // The directory has said that we lead; the question was asked at `asked`, and holds for `leader_ttl`.
    // When that begins a new leadership (also: one that had lapsed), leases of those before may be valid for
    // `their_ttl` from now on. `now`: when the answer was received.
    void lead(Clock::time_point asked, std::chrono::milliseconds leader_ttl, Clock::time_point now,
              std::chrono::milliseconds their_ttl);
    void follow();  // somebody else leads
    bool leads(Clock::time_point now) const;
    // We lead, and no lease of an earlier leader can be valid.
    bool settled(Clock::time_point now) const;
    std::chrono::milliseconds ttl() const { return ttl_; }

    // ---- Heartbeats ----

    // What a node has answered: its clock, and which process of it that clock is good for.
    void heard(const std::string& node, const std::string& instance, uint64_t node_ms, Clock::time_point now);
    void forget(const std::string& node);

    struct Heartbeat {
        std::string instance;  // of the base; empty: none, and it renews nothing
        uint64_t base_ms = 0;
        std::chrono::milliseconds ttl{0};
        std::vector<Copy> copies;  // whose leases it renews; all noted as maybe valid
    };
    // To be sent to the node, now or at any later time, with leases for those of `copies` that may have one.
    // `now`: from before the copies were read; of before this leadership, they get none.
    Heartbeat next_heartbeat(const std::string& node, const std::vector<Copy>& copies, Clock::time_point now);

    // ---- Failovers ----

    // No more leases for this copy. Call when its failover is on record.
    void withdraw(const Copy& copy);
    // It may have leases again: its failover was given up.
    void allow(const Copy& copy);
    // Whether no node can hold a valid lease for this copy, by whichever manager, now or later. Only what was
    // withdrawn before.
    bool surely_over(const Copy& copy, Clock::time_point now) const;

  private:
    struct Base {
        std::string instance;
        uint64_t node_ms = 0;
        Clock::time_point heard;
    };
    Clock::duration with_drift(std::chrono::milliseconds ttl) const;
    bool leads_locked(Clock::time_point now) const { return now < leader_until_; }

    const std::chrono::milliseconds ttl_;
    mutable std::mutex mutex_;
    Clock::time_point leader_until_{};  // all under mutex_
    Clock::time_point led_since_{};
    Clock::time_point predecessors_until_{};   // leases of earlier leaders may be valid until then
    std::map<std::string, Base> bases_;        // by node
    std::map<Copy, Clock::time_point> until_;  // may be valid until then
    std::set<Copy> withdrawn_;
};

}  // namespace lagan::cluster
