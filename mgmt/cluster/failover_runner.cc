// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/cluster/failover_runner.h"

#include <fmt/format.h>

#include <random>

#include "mgmt/cluster/placement.h"
#include "mgmt/cluster/region_creation.h"

namespace lagan::cluster {

using Action = FailoverAction;
using Kind = FailoverRecord::Kind;
using Source = FailoverRecord::Source;
using State = RegionRecord::State;
using Step = FailoverRecord::Step;

namespace {

constexpr int kMostSteps = 32;  // without a wait: more is a mistake of ours

constexpr uint64_t kTryAllAgainMs = 1000;
constexpr unsigned kMissingMeansLost = 3;  // answers in a row
constexpr size_t kMostTimes = 64;
constexpr unsigned kServiceUnavailable = 503;

std::string new_id(uint64_t now_ms) {
    static thread_local std::mt19937_64 random{std::random_device{}()};
    return fmt::format("{:012x}-{:08x}", now_ms, static_cast<uint32_t>(random()));
}

}  // namespace

// One failover, as the directory has it now.
struct FailoverRunner::Work {
    Versioned<FailoverRecord> failover;
    std::optional<Versioned<RegionRecord>> region;

    FailoverRecord& f() { return failover.value; }
    const FailoverRecord& f() const { return failover.value; }
    RegionRecord& r() { return region->value; }
};

std::string FailoverRunner::begin(Versioned<RegionRecord> region, const FailoverRequest& request) {
    RegionRecord& r = region.value;
    if (r.state != State::ready || !r.failover.empty()) return "";
    Versioned<FailoverRecord> failover;
    FailoverRecord& f = failover.value;
    const uint64_t now_ms = clocks_.unix_ms();
    f = {.id = new_id(now_ms),
         .region = r.name,
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
        f.step = Step::superseded;
        f.problem = "the region changed at the same moment";
        store(directory_, kFailoverPrefix, f.id, failover);
        return "";
    }
    leases_.withdraw({.region = r.name, .uid = r.uid, .epoch = r.epoch});
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

// The copy that may have a lease: before the switch the old one, after it the new one.
Copy FailoverRunner::home_copy(const Work& work) const {
    const RegionRecord& r = work.region->value;
    return {.region = r.name, .uid = r.uid, .epoch = r.epoch};
}

// ---- What is true ----

FailoverFacts FailoverRunner::facts(const Work& work) {
    const auto now = clocks_.now();
    const FailoverRecord& f = work.f();
    FailoverFacts facts{.now_ms = clocks_.unix_ms(),
                        .source = observations_.seen(f.source, now),
                        .target = observations_.seen(f.target, now)};
    if (!work.region || work.region->value.failover != f.id) return facts;
    // On record: whoever leads stops its own leases before it looks whether all are over.
    const Copy home = home_copy(work);
    if (!work.region->value.served()) leases_.withdraw(home);
    facts.target_lost_it = f.step == Step::switched && facts.target.serves() &&
                           observations_.times_missing(f.target, home) >= kMissingMeansLost;
    if (f.step == Step::detected) facts.candidates = candidates(work);
    try {
        if (needs_probe(f, facts.source) && facts.target.serves())
            facts.probe = nodes_.probe(node(f.target), node(f.source), f.source_grant);
        if (f.step >= Step::fencing) {
            facts.rebuild = nodes_.rebuild(node(f.target), f.region);
            facts.rebuild_known = true;
            if (facts.rebuild && facts.rebuild->epoch != f.epoch) facts.rebuild.reset();
        }
    } catch (const NodeError&) {  // not known, then
    }
    // A probe takes its time: all of this is as it is now.
    facts.now_ms = clocks_.unix_ms();
    facts.source = observations_.seen(f.source, clocks_.now());
    facts.source_lost_it = lost_by_source(work);
    facts.lease_over = leases_.surely_over(home, clocks_.now());
    return facts;
}

bool FailoverRunner::lost_by_source(const Work& work) const {
    const FailoverRecord& f = work.f();
    const Copy copy{.region = f.region, .uid = work.region->value.uid, .epoch = f.source_epoch};
    return observations_.times_missing(f.source, copy) >= kMissingMeansLost;
}

std::vector<std::string> FailoverRunner::candidates(const Work& work) const {
    const FailoverRecord& f = work.f();
    View view;
    for (const Entry& entry : directory_.list(kNodePrefix))
        view.nodes[entry.key.substr(std::string_view(kNodePrefix).size())] = {
            .value = entry.value.get<NodeRecord>()};
    view.regions[f.region] = *work.region;
    for (const Entry& entry : directory_.list(kFailoverPrefix)) {
        const auto other = entry.value.get<FailoverRecord>();
        if (!other.ended() && other.id != f.id) view.failovers[other.id] = {.value = other};
    }
    const uint64_t now_ms = clocks_.unix_ms();
    const bool all_again = !f.tried.empty() && now_ms > f.times.back().second + kTryAllAgainMs;
    std::set<std::string> except;
    if (!all_again) except.insert(f.tried.begin(), f.tried.end());
    // Where the copy is, or may be, that will be read; where it was certainly lost, it can be made anew.
    if (!lost_by_source(work)) except.insert(f.source);
    auto names = place(view, observations_, clocks_.now(), needed_bytes(work.region->value), except);
    if (!f.wanted_target.empty())
        std::erase_if(names, [&](const std::string& name) { return name != f.wanted_target; });
    return names;
}

// ---- What is done ----

bool FailoverRunner::carry_out(Work& work, const FailoverDecision& decision, const FailoverFacts& facts) {
    switch (decision.action) {
        case Action::wait:
            return note_problem(work, decision.text);
        case Action::claim:
            return claim(work);
        case Action::reclaim:
            return reclaim(work);
        case Action::choose_target:
            return choose_target(work, decision.target);
        case Action::decide_source:
            work.f().source_kind = decision.source;
            if (decision.source == Source::none) work.f().rolls_back = true;
            return to_step(work, Step::fencing);
        case Action::order:
            return order(work);
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
            return end(work, work.f().rolls_back ? Step::rolled_back : Step::done, "");
        case Action::next_target:
            return next_target(work, decision.text);
        case Action::give_up_source:
            return give_up_source(work, decision.text);
        case Action::abandon_target:
            return abandon_target(work, decision.text);
        case Action::cancel:
            return back_to_source(work, Step::cancelled, "the source serves again");
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
    if (!why.empty()) note_problem(work, why);
    const FailoverRecord& f = work.f();
    const bool lost = step == Step::rolled_back;
    say(work, lost ? "alarm" : "info", "failover_ended",
        fmt::format("{} {} of {} has ended: {}{}{}", to_string(f.kind), f.id, f.region, to_string(step),
                    why.empty() ? "" : ": ", why));
    return false;
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
          .tenant = work.region ? work.region->value.tenant : "",
          .text = text});
}

bool FailoverRunner::claim(Work& work) {
    work.r().failover = work.f().id;
    work.r().state = State::failing_over;
    return store(directory_, kRegionPrefix, work.r().name, *work.region);
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
    return to_step(work, Step::target_chosen);
}

bool FailoverRunner::order(Work& work) {
    const FailoverRecord& f = work.f();
    const RegionRecord& r = work.r();
    const NodeRecord target = node(f.target);
    // An older copy of the region, of an earlier failover.
    const NodeSeen seen = observations_.seen(f.target, clocks_.now());
    if (const HeardRegion* const old = seen.region(f.region); old != nullptr && old->epoch < f.epoch)
        nodes_.delete_region(target, f.region, old->epoch);
    RebuildOrder order{.region = r.name,
                       .uid = r.uid,
                       .epoch = f.epoch,
                       .size_bytes = r.size_bytes,
                       .reserve_bytes = r.reserve_bytes,
                       .overcommit = r.overcommit,
                       .source = std::nullopt};
    if (f.source_kind != Source::none) {
        const NodeRecord source = node(f.source);
        order.source = {
            .address = source.address, .port = source.port, .grant = f.source_grant, .epoch = f.source_epoch};
    }
    try {
        nodes_.order_rebuild(target, order);
    } catch (const NodeError& error) {
        if (error.status == 0 || error.status == kServiceUnavailable) throw;
        return next_target(work, error.what());
    }
    return true;
}

bool FailoverRunner::switch_home(Work& work, const RebuildStatus& rebuild) {
    const FailoverRecord& f = work.f();
    RegionRecord& r = work.r();
    const IssuedGrant grant = nodes_.grant(node(f.target), f.region, "recover", kRecoverGrantSeconds);
    r.node = f.target;
    r.epoch = f.epoch;
    r.recover_grant = grant.grant;
    r.state = State::rebuilding;
    if (f.rolls_back)
        r.rolled_back = {
            .epoch = f.epoch,
            .cut_number = rebuild.cut_number,
            .cut_time_us = rebuild.cut_time_us,
            .time_ms = clocks_.unix_ms(),
            .reason = f.source_kind == Source::none
                          ? fmt::format("{}; nothing of the copy on {} could be read", f.reason, f.source)
                          : fmt::format("{}; the stores made during an earlier attempt are lost", f.reason)};
    if (!store(directory_, kRegionPrefix, r.name, *work.region)) return false;
    say(work, f.rolls_back ? "alarm" : "warning", "region_moved",
        f.rolls_back ? fmt::format("{} is on {} now, rolled back: {}", r.name, r.node, r.rolled_back->reason)
                     : fmt::format("{} is on {} now, epoch {}", r.name, r.node, r.epoch));
    return to_step(work, Step::switched);
}

bool FailoverRunner::finish(Work& work, const std::optional<RebuildStatus>& rebuild) {
    RegionRecord& r = work.r();
    const bool rolled_back = work.f().rolls_back;
    if (rebuild && rolled_back && r.rolled_back && r.rolled_back->epoch == r.epoch) {
        r.rolled_back->cut_number = rebuild->cut_number;
        r.rolled_back->cut_time_us = rebuild->cut_time_us;
    }
    r.state = State::ready;
    r.failover.clear();
    if (!store(directory_, kRegionPrefix, r.name, *work.region)) return false;
    if (rebuild) work.f().progress = rebuild->progress;
    return end(work, rolled_back ? Step::rolled_back : Step::done, "");
}

bool FailoverRunner::next_target(Work& work, const std::string& why) {
    work.f().tried.push_back(work.f().target);
    return begin_again(work, why);
}

bool FailoverRunner::give_up_source(Work& work, const std::string& why) {
    work.f().source_given_up = true;
    say(work, "alarm", "source_lost",
        fmt::format("{} is given up as a source of {}: {}", work.f().source, work.f().region, why));
    return begin_again(work, why);
}

bool FailoverRunner::abandon_target(Work& work, const std::string& why) {
    FailoverRecord& f = work.f();
    say(work, "alarm", "target_lost",
        fmt::format("{} is given up as the new home of {}: {}", f.target, f.region, why));
    f.tried.push_back(f.target);
    return begin_again(work, why);
}

// Another attempt, with an epoch of its own. After the switch the target is the region's home, whose lease
// must be over first; what clients have stored there is lost.
bool FailoverRunner::begin_again(Work& work, const std::string& why) {
    FailoverRecord& f = work.f();
    const std::string target = f.target;
    if (f.step == Step::switched) {
        work.r().state = State::failing_over;
        if (!store(directory_, kRegionPrefix, work.r().name, *work.region)) return false;
        leases_.withdraw(home_copy(work));
        f.rolls_back = true;
    }
    f.target.clear();
    f.source_kind = Source::undecided;
    if (!to_step(work, Step::detected)) return false;
    note_problem(work, fmt::format("{}: {}", target, why));
    say(work, "warning", "failover_begins_again",
        fmt::format("{} of {} begins again: {}: {}", to_string(f.kind), f.region, target, why));
    try {  // what it may have begun takes its memory; an order that arrives late has an old epoch
        nodes_.drop_rebuild(node(target), f.region, f.epoch);
    } catch (const NodeError&) {
    }
    return true;
}

bool FailoverRunner::back_to_source(Work& work, Step end_step, const std::string& why) {
    const FailoverRecord& f = work.f();
    if (work.r().failover == f.id) {
        work.r().failover.clear();
        work.r().state = State::ready;
        if (!store(directory_, kRegionPrefix, work.r().name, *work.region)) return false;
    }
    leases_.allow(home_copy(work));
    // Only behind the record: the manager that lost that race drops nothing.
    if (!f.target.empty() && f.step >= Step::fencing) {
        try {
            nodes_.drop_rebuild(node(f.target), f.region, f.epoch);
        } catch (const NodeError&) {
        }
    }
    return end(work, end_step, why);
}

}  // namespace lagan::cluster
