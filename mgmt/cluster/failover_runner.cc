// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/cluster/failover_runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "mgmt/cluster/failover_work.h"
#include "mgmt/cluster/region_creation.h"

namespace lagan::cluster {

using Action = FailoverAction;
using Kind = FailoverRecord::Kind;
using Source = FailoverRecord::Source;
using State = RegionRecord::State;
using Step = FailoverRecord::Step;

namespace {

constexpr int kMostSteps = 32;  // without a wait: more is a mistake of ours

constexpr size_t kMostTimes = 64;
constexpr unsigned kServiceUnavailable = 503;

std::string new_id(uint64_t now_ms) {
    static thread_local std::mt19937_64 random{std::random_device{}()};
    return fmt::format("{:012x}-{:08x}", now_ms, static_cast<uint32_t>(random()));
}

bool was_tried(const FailoverRecord& f, const std::string& target) {
    return std::find(f.tried.begin(), f.tried.end(), target) != f.tried.end();
}

// A source has every page. But what a new home that was given up has left in the store has to be seen, and
// one that was switched to may need nothing but the store.
bool can_do_without_store(const FailoverRecord& f) {
    return f.source_kind != Source::none && f.step < Step::switched && !f.rolls_back;
}

}  // namespace

std::string FailoverRunner::begin(Versioned<RegionRecord> region, const FailoverRequest& request) {
    RegionRecord& r = region.value;
    if (r.state != State::ready || !r.failover.empty()) return "";
    Versioned<FailoverRecord> failover;
    FailoverRecord& f = failover.value;
    const uint64_t now_ms = clocks_.unix_ms();
    f = {.id = new_id(now_ms),
         .region = r.name,
         .tenant = r.tenant,
         .kind = request.kind,
         .source = r.node,
         .source_epoch = r.epoch,
         .source_grant = r.recover_grant,
         .wanted_target = request.wanted_target,
         .reason = request.reason,
         .times = {{to_string(Step::detected), now_ms}}};
    if (!store(directory_, kFailoverPrefix, f.id, failover)) return "";
    r.failover = f.id;
    r.state = State::failing_over;
    if (!store(directory_, kRegionPrefix, r.name, region)) {
        // Whoever leads may have seen the failover already, and claimed the region for it.
        if (has_region(f)) return f.id;
        f.step = Step::superseded;
        f.problem = "the region changed at the same moment";
        store(directory_, kFailoverPrefix, f.id, failover);
        release_if_ended(f.region, f.id);
        return "";
    }
    say_({.severity = f.kind == Kind::failure ? "alarm" : "info",
          .kind = "failover_started",
          .node = f.source,
          .region = r.name,
          .tenant = r.tenant,
          .text = fmt::format("{} {} begins: {}", to_string(f.kind), f.id, f.reason)});
    return f.id;
}

void FailoverRunner::advance(const std::string& id) {
    for (int i = 0; i < kMostSteps && step(id); ++i) {
    }
}

bool FailoverRunner::step(const std::string& id) {
    auto failover = load<FailoverRecord>(directory_, kFailoverPrefix, id);
    if (!failover || failover->value.ended()) return false;
    Work work{.failover = std::move(*failover), .region = std::nullopt};
    work.region = load<RegionRecord>(directory_, kRegionPrefix, work.f().region);
    // Both of one moment: all attempts have the failover's id, and what an old one stands for is not to be
    // done to the region of a newer one.
    const auto now = load<FailoverRecord>(directory_, kFailoverPrefix, id);
    if (!now || now->revision != work.failover.revision) return true;
    const FailoverFacts known = facts(work);
    const FailoverDecision decision =
        decide(work.f(), work.region ? std::optional(work.r()) : std::nullopt, known, policy_);
    try {
        return carry_out(work, decision, known);
    } catch (const NodeError& error) {
        note_problem(work, error.what());
        return false;
    }
}

NodeRecord FailoverRunner::node(const std::string& name) {
    const auto record = load<NodeRecord>(directory_, kNodePrefix, name);
    if (!record) throw NodeError(0, fmt::format("node {} was removed", name));
    return record->value;
}

bool FailoverRunner::carry_out(Work& work, const FailoverDecision& decision, const FailoverFacts& facts) {
    switch (decision.action) {
        case Action::wait:
            return wait(work, decision);
        case Action::claim:
            return claim(work);
        case Action::reclaim:
            return reclaim(work);
        case Action::choose_target:
            return choose_target(work, decision.target);
        case Action::decide_source:
            return decide_source(work, decision.source, facts.source);
        case Action::order:
            return order(work, facts.target);
        case Action::lease_is_over:
            work.f().lease_over_by = decision.text;
            return to_step(work, Step::rebuilding);
        case Action::switch_home:
            return switch_home(work, *facts.rebuild);
        case Action::note_switched:
            return to_step(work, Step::switched);
        case Action::finish:
            return finish(work, facts.rebuild);
        case Action::note_end:
            return end(work, work.f().loses_stores() ? Step::rolled_back : Step::done, "");
        case Action::begin_again:
            return begin_again(work, decision.text);
        case Action::next_target:
            return next_target(work, decision.text);
        case Action::give_up_source:
            return give_up_source(work, decision.text);
        case Action::abandon_target:
            return abandon_target(work, decision.text);
        case Action::cancel:
            return back_to_source(work, Step::cancelled, decision.text);
        case Action::supersede:
            return end(work, Step::superseded, decision.text);
        case Action::fail:
            return back_to_source(work, Step::failed, decision.text);
    }
    return false;
}

bool FailoverRunner::to_step(Work& work, Step step) {
    FailoverRecord& f = work.f();
    f.step = step;
    f.problem.clear();
    f.times.emplace_back(to_string(step), clocks_.unix_ms());
    if (f.times.size() > kMostTimes) f.times.erase(f.times.begin() + 1);  // the first one counts
    return store(directory_, kFailoverPrefix, f.id, work.failover);
}

bool FailoverRunner::end(Work& work, Step step, const std::string& why) {
    if (!to_step(work, step)) return false;
    release_if_ended(work.f().region, work.f().id);
    if (!why.empty()) note_problem(work, why);
    const FailoverRecord& f = work.f();
    {
        const std::lock_guard lock(mutex_);
        timers_.erase(f.id);
    }
    const bool lost = step == Step::rolled_back;
    say(work, lost ? "alarm" : "info", "failover_ended",
        fmt::format("{} {} of {} has ended: {}{}{}", to_string(f.kind), f.id, f.region, to_string(step),
                    why.empty() ? "" : ": ", why));
    return false;
}

bool FailoverRunner::wait(Work& work, const FailoverDecision& decision) {
    if (decision.alarm) {
        const std::unique_lock lock(mutex_);
        if (std::exchange(timers_[work.f().id].alarmed, decision.text) != decision.text)
            say(work, "alarm", "failover_stuck", fmt::format("{}: {}", work.f().region, decision.text));
    }
    return note_problem(work, decision.text);
}

bool FailoverRunner::note_problem(Work& work, const std::string& text) {
    if (work.f().problem == text) return false;
    work.f().problem = text;
    store(directory_, kFailoverPrefix, work.f().id, work.failover);
    return false;
}

void FailoverRunner::say(const Work& work, const char* severity, const char* kind, const std::string& text) {
    say_({.severity = severity,
          .kind = kind,
          .node = work.f().target.empty() ? work.f().source : work.f().target,
          .region = work.f().region,
          .tenant = work.f().tenant,
          .text = text});
}

bool FailoverRunner::claim(Work& work) {
    work.r().failover = work.f().id;
    work.r().state = State::failing_over;
    if (!store(directory_, kRegionPrefix, work.r().name, *work.region)) return false;
    release_if_ended(work.f().region, work.f().id);
    return true;
}

bool FailoverRunner::has_region(const FailoverRecord& f) {
    const auto region = load<RegionRecord>(directory_, kRegionPrefix, f.region);
    return region && region->value.failover == f.id;
}

// One manager claims a region while another ends the failover: each looks at the other's record when its own
// is written, so that no region is left to a failover that nobody carries out.
void FailoverRunner::release_if_ended(const std::string& name, const std::string& id) {
    const auto failover = load<FailoverRecord>(directory_, kFailoverPrefix, id);
    auto region = load<RegionRecord>(directory_, kRegionPrefix, name);
    if (!failover || !failover->value.ended() || !region || region->value.state != State::failing_over ||
        region->value.failover != id || region->value.epoch != failover->value.source_epoch)
        return;
    region->value.failover.clear();
    region->value.state = State::ready;
    store(directory_, kRegionPrefix, name, *region);
}

// The manager that led before was about to switch when this one gave the attempt up.
bool FailoverRunner::reclaim(Work& work) {
    work.f().rolls_back = true;
    if (!store(directory_, kFailoverPrefix, work.f().id, work.failover)) return false;
    return claim(work);
}

// The epoch is the region's newest before it is anywhere else: no two attempts have the same.
bool FailoverRunner::choose_target(Work& work, const std::string& target) {
    work.r().last_epoch = std::max(work.r().last_epoch, work.r().epoch) + 1;
    if (!store(directory_, kRegionPrefix, work.r().name, *work.region)) return false;
    work.f().target = target;
    work.f().epoch = work.r().last_epoch;
    pause_anew(work.f());
    return to_step(work, Step::target_chosen);
}

bool FailoverRunner::decide_source(Work& work, Source source, const NodeSeen& seen) {
    FailoverRecord& f = work.f();
    f.source_kind = source;
    if (source == Source::none) f.baseline_claimed = true;
    if (source != Source::none && seen.up()) {
        try {  // the one on record may be old, or of another key
            f.source_grant = nodes_.grant(node(f.source), f.region, "recover", kRecoverGrantSeconds).grant;
        } catch (const NodeError&) {
        }
    }
    return to_step(work, Step::fencing);
}

// An older copy of the region, of an earlier failover or attempt, is in the way. Another region that somebody
// made there under this name stays: the target refuses the order.
void FailoverRunner::make_way(const FailoverRecord& f, const std::string& uid, const NodeRecord& target,
                              const NodeSeen& seen) {
    const HeardRegion* const old = seen.region(f.region);
    if (old == nullptr || old->uid != uid || old->epoch >= f.epoch) return;
    nodes_.drop_rebuild(target, f.region, old->epoch);
    nodes_.delete_region(target, f.region, old->epoch);
}

bool FailoverRunner::order(Work& work, const NodeSeen& seen) {
    const FailoverRecord& f = work.f();
    const RegionRecord& r = work.r();
    const NodeRecord target = node(f.target);
    RebuildOrder order{.region = r.name,
                       .uid = r.uid,
                       .epoch = f.epoch,
                       .size_bytes = r.size_bytes,
                       .reserve_bytes = r.reserve_bytes,
                       .overcommit = r.overcommit,
                       .source = std::nullopt};
    if (f.source_kind != Source::none) {
        const auto source = load<NodeRecord>(directory_, kNodePrefix, f.source);
        if (!source) return give_up_source(work, fmt::format("node {} was removed", f.source));
        order.source = {.address = source->value.address,
                        .port = source->value.port,
                        .grant = f.source_grant,
                        .epoch = f.source_epoch};
    }
    try {
        const auto store = nodes_.has_store(target, r.name);
        order.baseline = store.value_or(!can_do_without_store(f));
        make_way(f, r.uid, target, seen);
        nodes_.order_rebuild(target, order);
        if (!store && !order.baseline)
            say(work, "warning", "rebuild_without_baseline",
                fmt::format("{}'s store does not answer: all pages of {} are read from {}", f.target, r.name,
                            f.source));
    } catch (const NodeError& error) {
        // After the switch there is no other target: clients have stored at this one.
        if (error.status == 0 || error.status == kServiceUnavailable || f.step == Step::switched) throw;
        return next_target(work, error.what());
    }
    pause_anew(f);
    return false;  // it takes a moment
}

bool FailoverRunner::switch_home(Work& work, const RebuildStatus& rebuild) {
    const FailoverRecord& f = work.f();
    RegionRecord& r = work.r();
    grant_recovery(nodes_, node(f.target), r, clocks_.unix_ms());
    r.node = f.target;
    r.epoch = f.epoch;
    r.state = State::rebuilding;
    if (f.loses_stores())
        r.rolled_back = {
            .epoch = f.epoch,
            .cut_number = rebuild.cut_number,
            .cut_time_us = rebuild.cut_time_us,
            .time_ms = clocks_.unix_ms(),
            .reason = f.source_kind == Source::none
                          ? fmt::format("{}; nothing of the copy on {} could be read", f.reason, f.source)
                          : fmt::format("{}; the stores made during an earlier attempt are lost", f.reason)};
    if (!store(directory_, kRegionPrefix, r.name, *work.region)) return false;
    say(work, f.loses_stores() ? "alarm" : "warning", "region_moved",
        f.loses_stores()
            ? fmt::format("{} is on {} now, rolled back: {}", r.name, r.node, r.rolled_back->reason)
            : fmt::format("{} is on {} now, epoch {}", r.name, r.node, r.epoch));
    return to_step(work, Step::switched);
}

bool FailoverRunner::finish(Work& work, const std::optional<RebuildStatus>& rebuild) {
    RegionRecord& r = work.r();
    const bool rolled_back = work.f().loses_stores();
    if (rebuild && rebuild->cut_number != 0 && rolled_back && r.rolled_back &&
        r.rolled_back->epoch == r.epoch) {
        r.rolled_back->cut_number = rebuild->cut_number;
        r.rolled_back->cut_time_us = rebuild->cut_time_us;
    }
    r.state = State::ready;
    r.failover.clear();
    if (!store(directory_, kRegionPrefix, r.name, *work.region)) return false;
    if (rebuild && !rebuild->progress.is_null()) work.f().progress = rebuild->progress;
    return end(work, rolled_back ? Step::rolled_back : Step::done, "");
}

bool FailoverRunner::next_target(Work& work, const std::string& why) {
    const FailoverRecord& f = work.f();
    if (f.source_kind == Source::none && !was_tried(f, f.target))
        say(work, "alarm", "failover_stuck",
            fmt::format("{} cannot be rebuilt on {}: {}. If {} and its memory are lost for good, DELETE "
                        "/v1/regions/{}?force=true gives the region up",
                        f.region, f.target, why, f.source, f.region));
    return begin_again(work, why, true);
}

bool FailoverRunner::give_up_source(Work& work, const std::string& why) {
    work.f().source_given_up = true;
    say(work, "alarm", "source_lost",
        fmt::format("{} is given up as a source of {}: {}", work.f().source, work.f().region, why));
    return begin_again(work, why);
}

bool FailoverRunner::abandon_target(Work& work, const std::string& why) {
    const FailoverRecord& f = work.f();
    say(work, "alarm", "target_lost",
        fmt::format("{} is given up as the new home of {}: {}", f.target, f.region, why));
    return begin_again(work, why, true);
}

// Another attempt, with an epoch of its own. After the switch the target is the region's home, whose lease
// must be over first; what clients have stored there is lost.
bool FailoverRunner::begin_again(Work& work, const std::string& why, bool target_cannot) {
    FailoverRecord& f = work.f();
    const std::string target = f.target;
    const bool news = !was_tried(f, target);  // else it is told each second
    if (f.step == Step::switched) {
        work.r().state = State::failing_over;
        if (!store(directory_, kRegionPrefix, work.r().name, *work.region)) return false;
        leases_.withdraw(home_copy(work), work.region->revision);
        f.rolls_back = true;
    }
    if (target_cannot) {
        std::erase(f.tried, target);
        f.tried.push_back(target);  // the newest is the last
    }
    f.target.clear();
    f.source_kind = Source::undecided;
    if (!to_step(work, Step::detected)) return false;
    note_problem(work, fmt::format("{}: {}", target, why));
    if (news)
        say(work, "warning", "failover_begins_again",
            fmt::format("{} of {} begins again: {}: {}", to_string(f.kind), f.region, target, why));
    drop(f, target);
    return true;
}

// What it may have begun takes its memory; an order that arrives late has an old epoch. Nobody waits for one
// that is silent: what it has is tidied up when it is back.
void FailoverRunner::drop(const FailoverRecord& f, const std::string& target) {
    if (!observations_.seen(target, clocks_.now()).up()) return;
    try {
        nodes_.drop_rebuild(node(target), f.region, f.epoch);
    } catch (const NodeError&) {
    }
}

bool FailoverRunner::back_to_source(Work& work, Step end_step, const std::string& why) {
    const FailoverRecord& f = work.f();
    if (work.r().failover == f.id) {
        work.r().failover.clear();
        work.r().state = State::ready;
        if (!store(directory_, kRegionPrefix, work.r().name, *work.region)) return false;
    }
    if (f.baseline_claimed)
        say(work, "alarm", "checkpoints_refused",
            fmt::format("{} serves again, and its baseline is claimed by an attempt that was given up: no "
                        "checkpoint succeeds before it is moved (POST /v1/moves)",
                        f.region));
    // Only behind the record: the manager that lost that race drops nothing.
    if (!f.target.empty() && f.step >= Step::fencing) drop(f, f.target);
    return end(work, end_step, why);
}

}  // namespace lagan::cluster
