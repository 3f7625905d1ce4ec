// SPDX-License-Identifier: BSD-3-Clause
// What is true at the moment of a step, as far as it can be known.
#include <algorithm>

#include "mgmt/cluster/failover_work.h"
#include "mgmt/cluster/placement.h"

namespace lagan::cluster {

using Step = FailoverRecord::Step;

namespace {

constexpr unsigned kMissingMeansLost = 3;  // answers in a row

// What was made by a process that has ended since: no job of this one knows of it.
std::optional<RebuildStatus> whole_already(const FailoverRecord& f, const NodeSeen& target) {
    const HeardRegion* const copy = target.region(f.region);
    if (!target.up() || copy == nullptr || copy->epoch != f.epoch || copy->state != "ready")
        return std::nullopt;
    return RebuildStatus{.state = "done", .epoch = f.epoch, .fenced = true};
}

}  // namespace

// The copy that may have a lease: before the switch the old one, after it the new one.
Copy FailoverRunner::home_copy(const Work& work) const {
    const RegionRecord& r = work.region->value;
    return {.region = r.name, .uid = r.uid, .epoch = r.epoch};
}

FailoverFacts FailoverRunner::facts(const Work& work) {
    const auto now = clocks_.now();
    const FailoverRecord& f = work.f();
    FailoverFacts facts{.source = observations_.seen(f.source, now),
                        .target = observations_.seen(f.target, now)};
    if (!work.region || work.region->value.failover != f.id) return facts;
    // On record: whoever leads stops its own leases before it looks whether all are over.
    const Copy home = home_copy(work);
    if (!work.region->value.served()) leases_.withdraw(home, work.region->revision);
    facts.target_lost_it = f.step == Step::switched && facts.target.serves() &&
                           observations_.times_missing(f.target, home) >= kMissingMeansLost;
    try {
        if (needs_probe(f, facts.source) && facts.target.serves())
            facts.probe = nodes_.probe(node(f.target), node(f.source), f.source_grant);
        if (f.step >= Step::fencing) {
            facts.rebuild = nodes_.rebuild(node(f.target), f.region);
            facts.rebuild_known = true;
            if (facts.rebuild && facts.rebuild->epoch != f.epoch) facts.rebuild.reset();
            if (!facts.rebuild) facts.rebuild = whole_already(f, facts.target);
        }
    } catch (const NodeError&) {  // not known, then
    }
    // A probe takes its time: all of this is as it is now.
    facts.source = observations_.seen(f.source, clocks_.now());
    facts.source_lost_it = lost_by_source(work);
    facts.lease_over = leases_.surely_over(home, clocks_.now());
    count_waits(f, facts);
    if (f.step == Step::detected) facts.candidates = candidates(work, facts);
    return facts;
}

void FailoverRunner::count_waits(const FailoverRecord& f, FailoverFacts& facts) {
    const auto now = clocks_.now();
    const auto count = [&](std::optional<Clock::time_point>& since, bool so) {
        if (!so) since.reset();
        if (so && !since) since = now;
        return since ? now - *since : Clock::duration(0);
    };
    const std::lock_guard lock(mutex_);
    Timers& timers = timers_[f.id];
    facts.source_gone_for =
        count(timers.source_gone, source_is_gone(f, facts).value_or(timers.source_gone.has_value()));
    facts.paused_for = count(timers.paused, pauses(f, facts));
}

void FailoverRunner::pause_anew(const FailoverRecord& f) {
    const std::lock_guard lock(mutex_);
    timers_[f.id].paused.reset();
}

void FailoverRunner::forget_waits() {
    const std::lock_guard lock(mutex_);
    timers_.clear();
}

bool FailoverRunner::lost_by_source(const Work& work) const {
    const FailoverRecord& f = work.f();
    const Copy copy{.region = f.region, .uid = work.region->value.uid, .epoch = f.source_epoch};
    return observations_.times_missing(f.source, copy) >= kMissingMeansLost;
}

std::vector<std::string> FailoverRunner::candidates(const Work& work, const FailoverFacts& facts) const {
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
    std::set<std::string> except;
    if (facts.paused_for < kPause) except.insert(f.tried.begin(), f.tried.end());
    // Where the copy is, or may be, that will be read; where it was certainly lost, it can be made anew.
    if (!lost_by_source(work)) except.insert(f.source);
    auto names = place(view, observations_, clocks_.now(), needed_bytes(work.region->value), except);
    // Once the source serves no more, any other node is better than none.
    if (!f.wanted_target.empty() && !source_is_fenced(f, facts))
        std::erase_if(names, [&](const std::string& name) { return name != f.wanted_target; });
    // In turn: what could not take it comes behind the others, what was tried last behind all.
    for (const std::string& tried : f.tried)
        std::stable_partition(names.begin(), names.end(),
                              [&](const std::string& name) { return name != tried; });
    return names;
}

}  // namespace lagan::cluster
