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
#include <string>
#include <utility>
#include <vector>

namespace lagan::cluster {

// Goes on while the machine is suspended: leases and leaderships do. (A virtual machine that is stopped from
// outside does not notice, and is outside of what can be promised.)
struct Clock {
    using duration = std::chrono::nanoseconds;
    using rep = duration::rep;
    using period = duration::period;
    using time_point = std::chrono::time_point<Clock>;
    static constexpr bool is_steady = true;
    static time_point now() noexcept;
};

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
    // A copy that may have a lease, as its region's record of this revision says.
    struct Served {
        Copy copy;
        uint64_t revision = 0;
    };
    // To be sent to the node, now or at any later time, with leases for those of `served` that were not
    // withdrawn by a record as new. `now`: from before these were read; of before this leadership, they get
    // none.
    Heartbeat next_heartbeat(const std::string& node, const std::vector<Served>& served,
                             Clock::time_point now);

    // ---- Failovers ----

    // No more leases for this copy, as its region's record of this revision says; until a newer one serves
    // it.
    void withdraw(const Copy& copy, uint64_t revision);
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
    std::map<Copy, uint64_t> withdrawn_;       // by the record of this revision
};

}  // namespace lagan::cluster
