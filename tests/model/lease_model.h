// SPDX-License-Identifier: BSD-3-Clause
// The lease, fence and failover protocol of docs/failover.md as a state machine: up to three nodes, two
// managers, the directory, the baseline, one region of one page, one client. successors() gives every state
// that one step of anybody leads to. Steps interleave in every order, and a step that is not taken is a
// message lost, a process that hangs, a network that is cut: nothing has to happen in time, not even the tick
// of the clock.
//
// Time is counted in ages and in ticks that are left, so that there is no last tick.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>

namespace lagan::test::lease {

constexpr uint8_t kNodes = 3, kManagers = 2;
constexpr uint8_t kLease = 2;   // ticks: of a region's lease, and how long a new leader waits
constexpr uint8_t kLeader = 2;  // ticks: of the leadership
constexpr uint8_t kMaxEpoch = 4;
constexpr uint8_t kNobody = 3;

// What is finite: without these, there would be always new states.
struct Bounds {
    uint8_t nodes = 2;         // at most kNodes
    uint8_t stores = 1;        // acknowledged
    uint8_t faults = 1;        // of nodes
    uint8_t last_epoch = 3;    // failovers, moves and roll-backs are one less; at most kMaxEpoch
    bool checkpointed = true;  // once, before it all begins
};

// What keeps the protocol safe. A test takes away one at a time.
struct Rules {
    bool lease_counts_from_base = true;          // not from the arrival of the heartbeat
    bool base_names_its_process = true;          // a lagand that was started again takes no older one
    bool frozen_after_start = true;              // a region that had a lease once
    bool epoch_is_checked = true;                // of heartbeats and of rebuild orders
    bool manager_waits_for_lease_end = true;     // of the leases that it gave itself
    bool new_leader_waits = true;                // for those of the leader before
    bool leadership_counts_from_request = true;  // not from the directory's answer
    bool base_before_leadership = true;          // a base that was learnt later is not sent
    bool no_lease_during_failover = true;        // of the source, once a failover is on record
    bool lists_after_settled = true;             // the lists are read when no store is under way any more
    bool baseline_is_claimed = true;             // when it is read: the source changes it no more then
    bool source_is_complete = true;              // a copy that is being rebuilt is no source
    bool baseline_alone_rolls_back = true;       // whatever the source had said about its dirty pages
    bool every_attempt_has_its_epoch = true;     // also after one that was given up
    bool source_has_the_homes_epoch = true;      // another copy in its place is no source
    bool checkpoint_before_switch = true;        // without a source, one is found first
    // And what makes it end:
    bool switched_can_be_rolled_back = true;  // when the source is lost before the target is whole
    bool attempts_can_be_given_up = true;     // when the target is lost before it is the home
};

struct Node {
    enum Power : uint8_t { down, up, gone };  // gone: with its memory, for ever
    uint8_t power = up;
    uint8_t epoch = 0;  // of its copy; 0: none
    uint8_t lease = 0;  // ticks left
    uint8_t fenced = 0;
    uint8_t value = 0;  // the page's: the number of the store that it is from
    uint8_t pending = 0;
    uint8_t dirty = 0;
    uint8_t under_way = 0;  // a store that has passed the lease check, and is not carried out yet
    // Of a reconstruction; forgotten when the process ends.
    uint8_t settled = 0;        // the fence at the source has
    uint8_t baseline_seen = 0;  // 1 + the value there
    uint8_t listed = 0;         // 1: the page is on none of the source's lists; 2: it is

    bool serves() const { return power == up && lease > 0 && fenced == 0; }
    bool operator==(const Node&) const = default;
};

// A manager's memory; of one that does not lead, nothing counts but what it may do late.
struct Manager {
    uint8_t leads = 0;         // ticks for which it believes to be the leader
    uint8_t waits = 0;         // ticks until it believes any lease to be over
    uint8_t may_be_valid = 0;  // ticks for which the home may hold a lease of this manager's
    uint8_t decided = 0;       // "the lease is over", not yet in the directory
    uint8_t checked = 0;       // only without base_before_leadership
    uint8_t heard_clean = 0;   // only without baseline_alone_rolls_back
    bool operator==(const Manager&) const = default;
};

// A failover, a move or a roll-back, on record since it was asked for; by its epoch. Its order to the target
// may arrive at any time afterwards, and again.
struct Attempt {
    uint8_t source = 0;
    uint8_t source_epoch = 0;
    uint8_t target = kNobody;
    uint8_t with_source = 0;  // or from the baseline alone
    uint8_t says_rolled_back = 0;
    bool operator==(const Attempt&) const = default;
};

struct State {
    enum Record : uint8_t { none, started, lease_over, switched };
    std::array<Node, kNodes> node{};
    std::array<Manager, kManagers> manager{};
    // In the network: [node][epoch - 1], 1 + the age of the youngest base; they arrive at any time, and
    // again. One with an older base can do nothing that this one cannot.
    std::array<std::array<uint8_t, kMaxEpoch>, kNodes> heartbeat{};
    // The directory.
    uint8_t leader = kNobody, leader_ttl = 0;
    uint8_t home = 0, epoch = 1, last_epoch = 1, rolled_back = 0;
    uint8_t record = none;
    std::array<Attempt, kMaxEpoch - 1> attempt{};  // of epoch 2 and on
    // The baseline.
    uint8_t baseline_there = 1, baseline_epoch = 1, baseline_value = 0;
    // What the client knows.
    uint8_t acknowledged = 0, acknowledged_epoch = 0;
    uint8_t faults = 0;

    const Attempt& latest() const { return attempt[last_epoch - 2U]; }
    bool operator==(const State&) const = default;
};

State first_state(const Bounds& bounds);

struct Step {
    const char* what;  // "node {}: ..."
    int who;
    bool fault = false;       // nothing that has to happen
    bool comes_back = false;  // a node that was down
};
using Emit = std::function<void(const State&, const Step&)>;
void successors(const State& from, const Rules& rules, const Bounds& bounds, const Emit& emit);

// Empty: all is well. Else which promise is broken.
std::string violation(const State& state);
// The region is served by its home, whole, and no failover is under way.
bool is_well(const State& state);

}  // namespace lagan::test::lease
