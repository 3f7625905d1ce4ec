// SPDX-License-Identifier: BSD-3-Clause
// What to do next for a failover: a function of what the directory holds and what was seen of the nodes,
// without any memory of its own, so that any manager goes on where another has died.
//
// detected → target_chosen → fencing → rebuilding → switched → done or rolled_back. Every arrow is one
// compare-and-swap. What keeps it safe is in docs/failover.md.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "mgmt/cluster/observations.h"
#include "mgmt/cluster/records.h"

namespace lagan::cluster {

struct FailoverPolicy {
    // Both are counted by each manager itself, from when it has seen that somebody is away: a new leader
    // waits for the whole time again, and no clock of another machine counts. How long a dead source's return
    // is waited for, as itself or as a rescue, before its region is rolled back to the baseline.
    std::chrono::milliseconds rescue_wait{500};
    // The same for a source, or a new home, that goes away when clients store at the new home already: these
    // stores are lost too, then. And for a source that answers, and refuses: it lives.
    std::chrono::milliseconds half_way_wait{30'000};
};

// What is true at this moment, or was a moment ago. What a step does not look at need not be there.
struct FailoverFacts {
    NodeSeen source;                      // the old home
    Clock::duration source_gone_for{0};   // this manager has seen so: source_is_gone()
    Clock::duration paused_for{0};        // the same: pauses()
    bool source_lost_it = false;          // it answers, several times, and does not have the copy
    bool lease_over = false;              // of the region's home, old or new
    std::vector<std::string> candidates;  // nodes that can take it, best first
    NodeSeen target;
    bool target_lost_it = false;           // it answers, and does not have the copy that it was given
    std::optional<Probe> probe;            // whether the source answers RDMA
    std::optional<RebuildStatus> rebuild;  // at the target, of this failover's epoch
    bool rebuild_known = false;            // the target was asked and has answered
};

enum class FailoverAction : uint8_t {
    wait,
    claim,           // the region is this failover's: no leases from now on
    reclaim,         // an attempt that was given up has switched it, late: no leases there either
    choose_target,   // `target`
    decide_source,   // `source`
    order,           // the target is to reconstruct it
    lease_is_over,   // by `text`: "fence" or "expiry"
    switch_home,     // clients see the new home
    note_switched,   // it was, by a manager that did not get further
    finish,          // the copy is whole
    note_end,        // it was finished, as before
    begin_again,     // there is a better way now: `text`
    next_target,     // this one cannot, because of `text`
    give_up_source,  // the baseline alone from now on
    abandon_target,  // the new home is gone before it was complete: another one, without the stores made
                     // there
    cancel,          // the source serves again
    supersede,
    fail  // a move: the region stays
};
const char* to_string(FailoverAction action);

struct FailoverDecision {
    FailoverAction action = FailoverAction::wait;
    std::string text{};    // for people: what it waits for, or why
    bool alarm = false;    // `text` is more than a moment's trouble
    std::string target{};  // choose_target
    FailoverRecord::Source source = FailoverRecord::Source::undecided;
};

// `region`: nothing, if it was deleted.
FailoverDecision decide(const FailoverRecord& failover, const std::optional<RegionRecord>& region,
                        const FailoverFacts& facts, const FailoverPolicy& policy);

// As far as was heard: whatever becomes of this failover, the old home serves nobody any more.
bool source_is_fenced(const FailoverRecord& failover, const FailoverFacts& facts);

// Whether the source can be read by nobody at the moment; nothing: this moment tells nothing of it.
std::optional<bool> source_is_gone(const FailoverRecord& failover, const FailoverFacts& facts);

// Whether what was tried has failed, and it, or another, is tried after a while.
bool pauses(const FailoverRecord& failover, const FailoverFacts& facts);
inline constexpr std::chrono::milliseconds kPause{1000};

// Whether deciding needs to know if the source answers RDMA.
bool needs_probe(const FailoverRecord& failover, const NodeSeen& source);

}  // namespace lagan::cluster
