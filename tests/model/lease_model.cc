// SPDX-License-Identifier: BSD-3-Clause
#include "tests/model/lease_model.h"

#include <algorithm>
#include <utility>

namespace lagan::test::lease {

namespace {

uint8_t u8(int value) {
    return static_cast<uint8_t>(value);
}

void count_down(uint8_t& ticks) {
    if (ticks > 0) ticks--;
}

// All steps from one state. Each takes a copy, changes it and gives it away.
class Steps {
  public:
    Steps(const State& from, const Rules& rules, const Bounds& bounds, const Emit& emit)
        : from_(from), rules_(rules), bounds_(bounds), emit_(emit) {}

    void all() const {
        tick();
        for (uint8_t n = 0; n < bounds_.nodes; n++) {
            heartbeat_arrives(n);
            client_stores(n);
            checkpoint(n);
            fails_and_returns(n);
            rebuild_order_arrives(n);
            reconstruction(n);
        }
        for (uint8_t m = 0; m < kManagers; m++) {
            leadership(m);
            heartbeats_leave(m);
            decides(m);
        }
        failover();
    }

  private:
    void give(State next, const Step& step) const {
        forget(next);
        // The managers are alike: the leader is the first.
        if (next.leader == 1) {
            std::swap(next.manager[0], next.manager[1]);
            next.leader = 0;
        }
        if (next != from_) emit_(next, step);
    }

    // What can make no difference any more: so that states are the same that differ in nothing else.
    void forget(State& s) const {
        for (Manager& m : s.manager) {
            // It has to be elected first, and begins anew then.
            if (m.leads == 0) m = {.decided = m.decided, .checked = m.checked};
        }
        for (uint8_t n = 0; n < kNodes; n++) {
            Node& node = s.node[n];
            if (node.pending == 0) node.baseline_seen = node.listed = 0;
            if (rules_.epoch_is_checked)
                std::fill_n(s.heartbeat[n].begin(), std::max(int{node.epoch}, 1) - 1, u8(0));
            if (node.power == Node::gone || (node.fenced != 0 && rules_.base_names_its_process))
                s.heartbeat[n] = {};
        }
        for (uint8_t epoch = 2; epoch <= s.last_epoch; epoch++) {
            Attempt& attempt = s.attempt[epoch - 2U];
            if (attempt.target == kNobody || (epoch == s.last_epoch && s.record != State::none)) continue;
            const Node& target = s.node[attempt.target];
            if (target.power == Node::gone || target.epoch > epoch ||
                (target.epoch == epoch && target.pending == 0))
                attempt = {};
        }
    }

    // ---- Time ----

    void tick() const {
        State s = from_;
        for (Node& n : s.node)
            count_down(n.lease);
        for (Manager& m : s.manager) {
            count_down(m.leads);
            count_down(m.waits);
            count_down(m.may_be_valid);
        }
        count_down(s.leader_ttl);
        if (s.leader_ttl == 0) s.leader = kNobody;
        for (auto& of_node : s.heartbeat) {
            for (uint8_t& age : of_node) {
                if (age != 0) age++;
                // With an old base it gives no lease, unless the base does not count.
                if (age > kLease) age = rules_.lease_counts_from_base ? 0 : kLease;
            }
        }
        give(s, {"a tick of the clock", 0});
    }

    // ---- Nodes ----

    void heartbeat_arrives(uint8_t n) const {
        const Node& node = from_.node[n];
        if (node.power != Node::up || node.epoch == 0 || node.fenced != 0) return;
        for (uint8_t epoch = 1; epoch <= from_.last_epoch; epoch++) {
            if (rules_.epoch_is_checked && epoch != node.epoch) continue;
            const uint8_t age = from_.heartbeat[n][epoch - 1U];
            if (age == 0) continue;
            State s = from_;
            const uint8_t lease = u8(rules_.lease_counts_from_base ? kLease + 1 - age : int{kLease});
            s.node[n].lease = std::max(node.lease, lease);
            give(s, {"a heartbeat renews the lease of node {}", n});
        }
    }

    // The client has one store under way, and repeats it wherever it is led, until it is acknowledged.
    void client_stores(uint8_t n) const {
        const Node& node = from_.node[n];
        if (node.serves() && node.under_way == 0 && from_.acknowledged < bounds_.stores) {
            State s = from_;
            s.node[n].under_way = u8(from_.acknowledged + 1);
            give(s, {"node {} takes a store: its lease is valid", n});
        }
        if (node.power == Node::up && node.under_way != 0) {
            State s = from_;
            carry_out(s.node[n]);
            if (node.under_way >= s.acknowledged) {
                s.acknowledged = node.under_way;
                s.acknowledged_epoch = std::max(s.acknowledged_epoch, node.epoch);
            }
            give(s, {"node {} has carried out its store and acknowledges it", n});
        }
    }

    static void carry_out(Node& node) {
        node.value = std::exchange(node.under_way, u8(0));
        node.pending = 0;
        node.dirty = 1;
    }

    // Also of a node whose lease is over, or that is fenced.
    void checkpoint(uint8_t n) const {
        const Node& node = from_.node[n];
        if (node.power != Node::up || node.dirty == 0 || node.pending != 0 ||
            from_.baseline_epoch > node.epoch)
            return;
        State s = from_;
        s.baseline_there = 1;
        s.baseline_epoch = node.epoch;
        s.baseline_value = node.value;
        s.node[n].dirty = 0;
        give(s, {"node {} commits a checkpoint", n});
    }

    void fails_and_returns(uint8_t n) const {
        const Node& node = from_.node[n];
        if (node.power == Node::down) {
            State s = from_;
            s.node[n].power = Node::up;
            if (!rules_.frozen_after_start && node.epoch != 0) s.node[n].lease = kLease;
            give(s, {.what = "node {} is started again", .who = n, .comes_back = true});
        }
        if (node.power == Node::gone || from_.faults == bounds_.faults) return;
        State s = from_;
        s.faults++;
        if (node.power == Node::up) {
            for (const bool carried_out : {false, true})
                for (const bool fence_kept : {false, true})
                    give(crashed(s, n, carried_out, fence_kept),
                         {.what = "node {} crashes", .who = n, .fault = true});
        }
        s = crashed(s, n, false, false);
        s.node[n] = {.power = Node::gone};
        give(s, {.what = "node {} is lost with its memory", .who = n, .fault = true});
    }

    // Whether a store that was under way has been carried out, and the fence has come into the record.
    State crashed(State s, uint8_t n, bool carried_out, bool fence_kept) const {
        Node& node = s.node[n];
        if (carried_out && node.under_way != 0) carry_out(node);
        node.power = Node::down;
        node.under_way = node.lease = node.settled = node.baseline_seen = node.listed = 0;
        if (!fence_kept) node.fenced = 0;
        if (rules_.base_names_its_process) s.heartbeat[n] = {};
        return s;
    }

    // ---- The target ----

    void rebuild_order_arrives(uint8_t n) const {
        const Node& node = from_.node[n];
        for (uint8_t epoch = 2; epoch <= from_.last_epoch; epoch++) {
            if (from_.attempt[epoch - 2U].target != n) continue;
            // A copy goes when no request uses it any more.
            if (node.power != Node::up || node.epoch >= epoch || node.under_way != 0) continue;
            if (!rules_.epoch_is_checked && node.epoch != 0)
                continue;  // taken for the copy that is asked for
            State s = from_;
            s.node[n] = {.epoch = epoch, .pending = 1};
            give(s, {"node {} gets the order to reconstruct, and may be connected to", n});
        }
    }

    void reconstruction(uint8_t n) const {
        const Node& target = from_.node[n];
        if (target.power != Node::up || target.epoch < 2) return;
        const Attempt& attempt = from_.attempt[target.epoch - 2U];
        if (attempt.target != n) return;
        if (attempt.with_source != 0 || from_.baseline_there != 0) read_baseline(n);
        if (target.pending != 0 && target.baseline_seen != 0 &&
            (attempt.with_source == 0 || target.listed == 1)) {
            State s = from_;
            s.node[n].value = u8(target.baseline_seen - 1);
            s.node[n].pending = 0;
            give(s, {"node {} takes the page from the baseline", n});
        }
        if (attempt.with_source != 0) use_source(n, attempt);
    }

    void read_baseline(uint8_t n) const {
        const Node& target = from_.node[n];
        if (target.pending == 0 || target.baseline_seen != 0 || from_.baseline_epoch > target.epoch) return;
        State s = from_;
        s.node[n].baseline_seen = u8(1 + s.baseline_value);
        if (rules_.baseline_is_claimed) s.baseline_epoch = target.epoch;
        give(s, {"node {} finds the newest manifest of the baseline", n});
    }

    void use_source(uint8_t n, const Attempt& attempt) const {
        const Node& target = from_.node[n];
        const Node& of = from_.node[attempt.source];
        if (of.power != Node::up || of.epoch == 0 || of.epoch >= target.epoch) return;
        if (rules_.source_has_the_homes_epoch && of.epoch != attempt.source_epoch) return;
        if (target.settled == 0) {
            State s = from_;
            s.node[attempt.source].fenced = 1;
            s.node[attempt.source].lease = 0;
            if (!rules_.lists_after_settled || (of.fenced != 0 && of.under_way == 0)) s.node[n].settled = 1;
            give(s, {"node {} fences the source", n});
            return;
        }
        if (rules_.source_is_complete && of.pending != 0) return;
        State s = from_;
        if (target.listed == 0 && target.pending != 0) {
            s.node[n].listed = u8(1 + of.dirty);
            give(s, {"node {} reads the source's dirty lists", n});
        } else if (target.listed == 2 && target.pending != 0) {
            s.node[n].value = of.value;
            s.node[n].pending = 0;
            s.node[n].dirty = 1;
            give(s, {"node {} pulls the page from the source", n});
        }
    }

    // ---- Managers ----

    void leadership(uint8_t m) const {
        State s = from_;
        if (from_.leader_ttl == 0) {
            s.manager[m] = {.leads = kLeader, .waits = u8(rules_.new_leader_waits ? kLease : 0)};
        } else if (from_.leader == m && from_.manager[m].leads > 0) {
            s.manager[m].leads = u8(rules_.leadership_counts_from_request ? kLeader : kLeader + 1);
        } else {
            return;
        }
        s.leader = m;
        s.leader_ttl = kLeader;
        give(s, {"manager {} is the leader", m});
    }

    void heartbeats_leave(uint8_t m) const {
        const Manager& manager = from_.manager[m];
        const bool leads = manager.leads > 0;
        if (!rules_.base_before_leadership && leads && manager.checked == 0) {
            State s = from_;
            s.manager[m].checked = 1;
            give(s, {"manager {} sees that it is the leader, and stops for a while", m});
        }
        // What a manager that stopped there reads when it goes on: an answer of this moment.
        if (!leads && manager.checked != 0) {
            State s = from_;
            s.manager[m].checked = 0;
            send_lease(s, 0);
            give(s, {"manager {} goes on, and sends the home a lease", m});
        }
        if (!leads || from_.node[from_.home].power != Node::up) return;
        if (rules_.no_lease_during_failover && from_.record != State::none && from_.record != State::switched)
            return;
        // The base is as old as the home's answer, which was heard some time later.
        for (uint8_t age = 0; age < kLease; age++) {
            for (uint8_t heard = 0; heard <= age; heard++) {
                State s = from_;
                s.manager[m].may_be_valid = std::max(manager.may_be_valid, u8(kLease - heard));
                send_lease(s, age);
                if (!rules_.baseline_alone_rolls_back)
                    s.manager[m].heard_clean = from_.node[from_.home].dirty == 0;
                give(s, {"manager {} sends the home a lease", m});
            }
        }
    }

    static void send_lease(State& s, uint8_t base_age) {
        uint8_t& there = s.heartbeat[s.home][s.epoch - 1U];
        if (there == 0 || there > base_age + 1) there = u8(base_age + 1);
    }

    void decides(uint8_t m) const {
        const Manager& manager = from_.manager[m];
        if (from_.record != State::started) return;
        if (manager.leads > 0 && manager.waits == 0 && manager.decided == 0 &&
            (manager.may_be_valid == 0 || !rules_.manager_waits_for_lease_end)) {
            State s = from_;
            s.manager[m].decided = 1;
            give(s, {"manager {} finds the home's lease over", m});
        }
        // Maybe much later, and not the leader any more: only a record that nobody has changed takes it.
        if (manager.decided != 0) {
            State s = from_;
            to_record(s, State::lease_over);
            give(s, {"manager {} puts on record that the home's lease is over", m});
        }
    }

    // ---- The record of a failover: whoever takes the step, it is one compare-and-swap ----

    static void to_record(State& s, State::Record record) {
        s.record = record;
        for (Manager& m : s.manager)
            m.decided = 0;
    }

    void failover() const {
        starts();
        if (from_.record == State::none) return;
        const Attempt& attempt = from_.latest();
        const Node& target = from_.node[attempt.target];
        const bool accepted = rules_.epoch_is_checked ? target.epoch == from_.last_epoch : target.epoch != 0;
        // In place the old copy goes when the order is taken.
        if (from_.record == State::started && accepted &&
            (target.settled != 0 || attempt.target == from_.home)) {
            State s = from_;
            to_record(s, State::lease_over);
            give(s, {"node {} has fenced the source, or dropped its copy: on record", attempt.target});
        }
        const bool found = attempt.with_source != 0 || target.baseline_seen != 0 || target.pending == 0;
        if (from_.record == State::lease_over && accepted && (found || !rules_.checkpoint_before_switch))
            switches(attempt);
        if (from_.record == State::switched && target.pending == 0) {
            State s = from_;
            to_record(s, State::none);
            give(s, {"the failover is done", attempt.target});
        }
        if (from_.record != State::switched && rules_.attempts_can_be_given_up) {
            State s = from_;
            to_record(s, State::none);
            give(s, {"the failover is given up", attempt.target});
        }
    }

    // Somebody asks for it, or a manager takes the home for dead, rightly or not.
    void starts() const {
        if (from_.record == State::started || from_.record == State::lease_over) return;
        if (from_.record == State::switched && !rules_.switched_can_be_rolled_back) return;
        const bool anew = rules_.every_attempt_has_its_epoch || from_.last_epoch == from_.epoch;
        if (anew && from_.last_epoch == bounds_.last_epoch) return;
        for (uint8_t target = 0; target < bounds_.nodes; target++) {
            for (const uint8_t with_source : {u8(0), u8(1)}) {
                if (with_source != 0 && target == from_.home) continue;
                State s = from_;
                if (anew) s.last_epoch++;
                s.attempt[s.last_epoch - 2U] = {.source = s.home,
                                                .source_epoch = s.epoch,
                                                .target = target,
                                                .with_source = with_source,
                                                .says_rolled_back = u8(with_source == 0 && !known_clean())};
                to_record(s, State::started);
                give(s, {with_source != 0 ? "a failover to node {} is put on record"
                                          : "a roll-back to the baseline on node {} is put on record",
                         target});
            }
        }
    }

    bool known_clean() const {
        return !rules_.baseline_alone_rolls_back &&
               std::any_of(from_.manager.begin(), from_.manager.end(),
                           [](const Manager& m) { return m.heard_clean != 0; });
    }

    void switches(const Attempt& attempt) const {
        State s = from_;
        s.home = attempt.target;
        s.epoch = s.last_epoch;
        if (attempt.says_rolled_back != 0) s.rolled_back = s.epoch;
        to_record(s, State::switched);
        for (Manager& m : s.manager) {
            m.may_be_valid = m.heard_clean = 0;  // they were the old home's
        }
        give(s, {"node {} is the home now", attempt.target});
    }

    const State& from_;
    const Rules& rules_;
    const Bounds& bounds_;
    const Emit& emit_;
};

}  // namespace

State first_state(const Bounds& bounds) {
    State s;
    s.baseline_there = bounds.checkpointed ? 1 : 0;
    s.node[0].epoch = 1;
    for (uint8_t n = bounds.nodes; n < kNodes; n++)
        s.node[n] = {.power = Node::gone};
    return s;
}

void successors(const State& from, const Rules& rules, const Bounds& bounds, const Emit& emit) {
    Steps(from, rules, bounds, emit).all();
}

std::string violation(const State& s) {
    const auto serve = std::count_if(s.node.begin(), s.node.end(), [](const Node& n) { return n.serves(); });
    if (serve > 1) return "two nodes hold a valid lease";
    const Node& home = s.node[s.home];
    if (s.record == State::switched && s.latest().with_source == 0 && s.baseline_there == 0 &&
        home.epoch == s.epoch && home.pending != 0)
        return "clients are led to a home that has nothing";
    for (const Node& n : s.node) {
        if (n.serves() && n.pending == 0 && n.value < s.acknowledged && s.rolled_back <= s.acknowledged_epoch)
            return "a node serves an older page than was acknowledged, and nobody says that it was rolled "
                   "back";
    }
    return {};
}

bool is_well(const State& s) {
    const Node& home = s.node[s.home];
    return s.record == State::none && home.serves() && home.epoch == s.epoch && home.pending == 0;
}

}  // namespace lagan::test::lease
