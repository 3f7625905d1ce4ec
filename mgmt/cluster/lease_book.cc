// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/cluster/lease_book.h"

#include <time.h>

#include <algorithm>

namespace lagan::cluster {

using namespace std::chrono_literals;

Clock::time_point Clock::now() noexcept {
    timespec now{};
    clock_gettime(CLOCK_BOOTTIME, &now);
    return time_point(std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec));
}

namespace {

constexpr int kDriftPerMille = 1;  // that two machines' clocks may run apart
constexpr auto kRounding = 1ms;    // the node's clock is told in whole milliseconds

}  // namespace

LeaseBook::LeaseBook(std::chrono::milliseconds ttl) : ttl_(ttl) {}

Clock::duration LeaseBook::with_drift(std::chrono::milliseconds ttl) const {
    return ttl + Clock::duration(ttl) * kDriftPerMille / 1000 + kRounding;
}

void LeaseBook::lead(Clock::time_point asked, std::chrono::milliseconds leader_ttl, Clock::time_point now,
                     std::chrono::milliseconds their_ttl) {
    const std::lock_guard lock(mutex_);
    if (!leads_locked(now)) {
        predecessors_until_ = now + with_drift(std::max(their_ttl, ttl_));
        led_since_ = now;
        withdrawn_.clear();  // others have ended failovers meanwhile; what is on record is withdrawn again
    }
    leader_until_ = asked + leader_ttl;
    std::erase_if(until_, [&](const auto& lease) { return lease.second <= now; });
}

void LeaseBook::follow() {
    const std::lock_guard lock(mutex_);
    leader_until_ = {};
}

bool LeaseBook::leads(Clock::time_point now) const {
    const std::lock_guard lock(mutex_);
    return leads_locked(now);
}

bool LeaseBook::settled(Clock::time_point now) const {
    const std::lock_guard lock(mutex_);
    return leads_locked(now) && now >= predecessors_until_;
}

void LeaseBook::heard(const std::string& node, const std::string& instance, uint64_t node_ms,
                      Clock::time_point now) {
    const std::lock_guard lock(mutex_);
    bases_[node] = {.instance = instance, .node_ms = node_ms, .heard = now};
}

void LeaseBook::forget(const std::string& node) {
    const std::lock_guard lock(mutex_);
    bases_.erase(node);
}

// The base was heard before `now`, while we lead at `now`: whatever happens to this thread before the
// heartbeat leaves, no lease in it outlives our leadership by more than the ttl, which the next leader waits
// for.
LeaseBook::Heartbeat LeaseBook::next_heartbeat(const std::string& node, const std::vector<Served>& served,
                                               Clock::time_point now) {
    const std::lock_guard lock(mutex_);
    const auto base = bases_.find(node);
    if (base == bases_.end() || !leads_locked(now) || now < led_since_ || base->second.heard > now) return {};
    Heartbeat heartbeat{
        .instance = base->second.instance, .base_ms = base->second.node_ms, .ttl = ttl_, .copies = {}};
    for (const auto& [copy, revision] : served) {
        const auto withdrawn = withdrawn_.find(copy);
        if (withdrawn != withdrawn_.end() && withdrawn->second >= revision) continue;
        if (withdrawn != withdrawn_.end()) withdrawn_.erase(withdrawn);
        Clock::time_point& until = until_[copy];
        until = std::max(until, base->second.heard + with_drift(ttl_));
        heartbeat.copies.push_back(copy);
    }
    return heartbeat;
}

void LeaseBook::withdraw(const Copy& copy, uint64_t revision) {
    const std::lock_guard lock(mutex_);
    uint64_t& by = withdrawn_[copy];
    by = std::max(by, revision);
}

bool LeaseBook::surely_over(const Copy& copy, Clock::time_point now) const {
    const std::lock_guard lock(mutex_);
    if (!leads_locked(now) || now < predecessors_until_ || !withdrawn_.contains(copy)) return false;
    const auto until = until_.find(copy);
    return until == until_.end() || now >= until->second;
}

}  // namespace lagan::cluster
