// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/cluster/failover_decision.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace lagan::cluster {

using Action = FailoverAction;
using Kind = FailoverRecord::Kind;
using Source = FailoverRecord::Source;
using Step = FailoverRecord::Step;

namespace {

constexpr const char* kFenced = "fenced";
constexpr const char* kDone = "done";

bool source_has_copy(const FailoverRecord& failover, const FailoverFacts& facts) {
    const HeardRegion* const region = facts.source.region(failover.region);
    return facts.source.up() && region != nullptr && region->epoch == failover.source_epoch;
}

// The old home serves as soon as it gets a lease again, and nothing was lost.
bool may_cancel(const FailoverRecord& failover, const RegionRecord& region, const FailoverFacts& facts) {
    return region.epoch == failover.source_epoch && facts.source.serves() &&
           source_has_copy(failover, facts) && !source_is_fenced(failover, facts) &&
           (failover.kind == Kind::failure || !failover.cancelled_by.empty());
}

FailoverDecision cancel(const FailoverRecord& failover) {
    return {.action = Action::cancel,
            .text = failover.cancelled_by.empty() ? "the source serves again"
                                                  : "asked for by " + failover.cancelled_by};
}

FailoverDecision of_claim(const FailoverRecord& failover, const RegionRecord& region) {
    const bool at_source = region.node == failover.source && region.epoch == failover.source_epoch;
    if (!region.failover.empty()) return {.action = Action::supersede, .text = "by " + region.failover};
    if (failover.step >= Step::rebuilding && region.epoch == failover.epoch)
        return {.action = Action::note_end};
    if (failover.step == Step::detected && at_source && region.served()) return {.action = Action::claim};
    if (at_source) return cancel(failover);  // its end is not yet on record
    return {.action = Action::supersede, .text = "the region is elsewhere"};
}

// What a move ends with.
std::string why_no_target(const FailoverRecord& failover) {
    if (!failover.tried.empty() && !failover.problem.empty()) return failover.problem;
    return "no other node has room for it";
}

FailoverDecision of_detected(const FailoverRecord& failover, const RegionRecord& region,
                             const FailoverFacts& facts) {
    // Once the baseline is another's, the old home could serve, and have no checkpoint ever again: it is read
    // and left, where there is room.
    const bool room_is_known = failover.tried.empty() || facts.paused_for >= kPause;
    if (may_cancel(failover, region, facts) &&
        (!failover.baseline_claimed || (facts.candidates.empty() && room_is_known)))
        return cancel(failover);
    if (!facts.candidates.empty())
        return {.action = Action::choose_target, .target = facts.candidates.front()};
    if (failover.kind != Kind::failure && !source_is_fenced(failover, facts))
        return {.action = Action::fail, .text = why_no_target(failover)};
    // The same words each time: others are another alarm.
    return {.text = room_is_known ? "no node has room for it: add memory, or enable a node"
                                  : "no other node can take it: those that could not are tried again",
            .alarm = true};
}

// Another may see more, also one that did not see anything before; in time, none is worth waiting for.
FailoverDecision of_blind_target(const FailoverRecord& failover, const FailoverFacts& facts) {
    const auto& tried = failover.tried;
    const bool is_new = std::find(tried.begin(), tried.end(), failover.target) == tried.end();
    const bool others_turn = tried.size() > 1 && facts.paused_for >= kPause;
    return {.action = is_new || others_turn ? Action::next_target : Action::wait,
            .text = fmt::format("it cannot tell whether {} can be read: has it a port in that network?",
                                failover.source),
            .alarm = true};
}

FailoverDecision of_target_chosen(const FailoverRecord& failover, const RegionRecord& region,
                                  const FailoverFacts& facts, const FailoverPolicy& policy) {
    if (may_cancel(failover, region, facts) && !failover.baseline_claimed) return cancel(failover);
    if (!facts.target.serves()) return {.action = Action::next_target, .text = "it does not answer"};
    if (source_has_copy(failover, facts))
        return {.action = Action::decide_source,
                .source = facts.source.last.mode == "rescue" ? Source::rescue : Source::live};
    // One answer without the copy may be older than the copy.
    if (facts.source.up() && !facts.source_lost_it)
        return {.text = fmt::format("{} answers, and it is not certain that it has lost the region",
                                    failover.source)};
    if (!failover.source_given_up) {
        if (facts.probe == Probe::answers) return {.action = Action::decide_source, .source = Source::live};
        if (facts.probe == Probe::refuses && facts.source_gone_for < policy.half_way_wait)
            return {
                .text = fmt::format("{} lives and refuses to be read: was its grant.key replaced? Start its "
                                    "management again, or a rescue",
                                    failover.source),
                .alarm = true};
        if (facts.probe == Probe::not_asked && facts.source_gone_for < policy.half_way_wait)
            return of_blind_target(failover, facts);
        if (facts.source_gone_for < policy.rescue_wait)
            return {.text = fmt::format("{} may come back, or a rescue of it", failover.source)};
    }
    if (!facts.lease_over) return {.text = fmt::format("the lease of {} may not be over", region.node)};
    return {.action = Action::decide_source, .source = Source::none};
}

// The target cannot go on, and clients have not stored anything there.
FailoverDecision of_lost_source(const FailoverRecord& failover, const FailoverFacts& facts,
                                const FailoverPolicy& policy) {
    const std::string& problem = facts.rebuild->problem;
    if (failover.source_kind == Source::none || source_has_copy(failover, facts)) {
        // The source is there: something else is wrong, at the target or with its port.
        if (failover.kind != Kind::failure && source_has_copy(failover, facts) &&
            !source_is_fenced(failover, facts))
            return {.action = Action::fail, .text = problem};
        return {.action = Action::next_target, .text = problem};
    }
    if (facts.source_gone_for < policy.rescue_wait) return {.text = problem};
    return {.action = Action::give_up_source, .text = problem};
}

// Without a source there has to be a checkpoint, before anybody is led to the new home for good.
bool has_something(const FailoverRecord& failover, const RebuildStatus& rebuild) {
    return failover.source_kind != Source::none || rebuild.cut_number != 0 || rebuild.state == kDone;
}

FailoverDecision looks_for_baseline(const RebuildStatus& rebuild) {
    return {.text = "the target looks for the newest checkpoint" +
                    (rebuild.problem.empty() ? "" : ": " + rebuild.problem)};
}

// The order is at the target, and not yet certain that the old home serves no more.
FailoverDecision of_fencing(const FailoverRecord& failover, const RegionRecord& region,
                            const FailoverFacts& facts, const FailoverPolicy& policy) {
    if (!failover.cancelled_by.empty() && may_cancel(failover, region, facts)) return cancel(failover);
    if (!facts.target.serves() && !facts.rebuild)
        return {.action = Action::next_target, .text = "it does not answer"};
    if (!facts.rebuild_known) return {.text = fmt::format("{} does not answer", failover.target)};
    if (!facts.rebuild) return {.action = Action::order};
    const RebuildStatus& rebuild = *facts.rebuild;
    if (failover.source_kind == Source::none) {
        if (source_has_copy(failover, facts))
            return {.action = Action::begin_again, .text = "the source is back"};
        if (rebuild.lost()) return of_lost_source(failover, facts, policy);
        if (!has_something(failover, rebuild)) return looks_for_baseline(rebuild);
        return {.action = Action::lease_is_over, .text = "expiry"};
    }
    // The copy that is read is settled. If the region's home is another one, that was abandoned half-way.
    if (rebuild.fenced && (region.epoch == failover.source_epoch || facts.lease_over))
        return {.action = Action::lease_is_over, .text = "fence"};
    if (!rebuild.lost()) return {.text = "the source is being fenced"};
    return of_lost_source(failover, facts, policy);
}

FailoverDecision of_rebuilding(const FailoverRecord& failover, const RegionRecord& region,
                               const FailoverFacts& facts, const FailoverPolicy& policy) {
    if (region.epoch == failover.epoch) return {.action = Action::note_switched};
    if (!facts.target.serves() && !facts.rebuild)
        return {.action = Action::next_target, .text = "it does not answer"};
    if (!facts.rebuild_known) return {.text = fmt::format("{} does not answer", failover.target)};
    if (!facts.rebuild) return {.action = Action::order};  // started again; nobody has stored there
    const RebuildStatus& rebuild = *facts.rebuild;
    if (rebuild.lost()) return of_lost_source(failover, facts, policy);
    if (!has_something(failover, rebuild)) return looks_for_baseline(rebuild);
    if (failover.source_kind != Source::none && !rebuild.fenced)
        return {.text = "the source is being fenced again"};
    return {.action = Action::switch_home};
}

// Clients have stored at the target: it is kept as long as there is any hope.
FailoverDecision of_failed(const FailoverRecord& failover, const FailoverFacts& facts) {
    const RebuildStatus& rebuild = *facts.rebuild;
    if (facts.paused_for < kPause)
        return {.text = fmt::format("{} cannot complete the region: {}", failover.target, rebuild.problem),
                .alarm = true};
    return {.action = Action::order};
}

FailoverDecision of_switched(const FailoverRecord& failover, const FailoverFacts& facts,
                             const FailoverPolicy& policy) {
    if (facts.target_lost_it) return {.action = Action::abandon_target, .text = "it has lost the region"};
    if (!facts.rebuild && !facts.target.serves()) {
        if (facts.target.silence < policy.half_way_wait)
            return {.text = fmt::format("{} does not answer; it has stores that nobody else has",
                                        failover.target)};
        return {.action = Action::abandon_target, .text = "it does not answer"};
    }
    if (!facts.rebuild) {
        if (!facts.rebuild_known) return {.text = fmt::format("{} does not answer", failover.target)};
        // It was started again: it goes on when it knows from where.
        const HeardRegion* const copy = facts.target.region(failover.region);
        if (copy == nullptr || copy->epoch != failover.epoch)
            return {.text = "the target looks for the region"};
        return {.action = Action::order};
    }
    const RebuildStatus& rebuild = *facts.rebuild;
    if (rebuild.state == kDone) return {.action = Action::finish};
    if (rebuild.failed()) return of_failed(failover, facts);
    if (!rebuild.lost()) return {.text = ""};
    if (source_has_copy(failover, facts) || facts.source_gone_for < policy.half_way_wait)
        return {.text = rebuild.problem};
    return {.action = Action::give_up_source, .text = rebuild.problem};
}

}  // namespace

const char* to_string(FailoverAction action) {
    constexpr std::array<const char*, 18> kNames{
        "wait",          "claim",          "reclaim",        "choose_target", "decide_source", "order",
        "lease_is_over", "switch_home",    "note_switched",  "finish",        "note_end",      "begin_again",
        "next_target",   "give_up_source", "abandon_target", "cancel",        "supersede",     "fail"};
    return kNames.at(static_cast<size_t>(action));
}

bool source_is_fenced(const FailoverRecord& failover, const FailoverFacts& facts) {
    return (facts.rebuild && facts.rebuild->fenced) ||
           (source_has_copy(failover, facts) && facts.source.region(failover.region)->lease == kFenced);
}

std::optional<bool> source_is_gone(const FailoverRecord& failover, const FailoverFacts& facts) {
    if (source_has_copy(failover, facts)) return false;
    if (failover.step == Step::detected) return true;
    if (failover.step == Step::target_chosen) return facts.probe != Probe::answers;
    if (!facts.rebuild) return std::nullopt;
    return facts.rebuild->lost();
}

bool pauses(const FailoverRecord& failover, const FailoverFacts& facts) {
    return (failover.step == Step::detected && !failover.tried.empty()) ||
           (failover.step == Step::target_chosen && facts.probe == Probe::not_asked) ||
           (failover.step == Step::switched && facts.rebuild && facts.rebuild->failed());
}

bool needs_probe(const FailoverRecord& failover, const NodeSeen& source) {
    return failover.step == Step::target_chosen && !failover.source_given_up && !source.up();
}

FailoverDecision decide(const FailoverRecord& failover, const std::optional<RegionRecord>& region,
                        const FailoverFacts& facts, const FailoverPolicy& policy) {
    if (failover.ended()) return {};
    if (!region || region->state == RegionRecord::State::deleting)
        return {.action = Action::supersede, .text = "the region was deleted"};
    if (region->failover != failover.id) return of_claim(failover, *region);
    if (failover.step < Step::switched && region->served() && region->epoch != failover.epoch)
        return {.action = Action::reclaim};
    switch (failover.step) {
        case Step::detected:
            return of_detected(failover, *region, facts);
        case Step::target_chosen:
            return of_target_chosen(failover, *region, facts, policy);
        case Step::fencing:
            return of_fencing(failover, *region, facts, policy);
        case Step::rebuilding:
            return of_rebuilding(failover, *region, facts, policy);
        case Step::switched:
            return of_switched(failover, facts, policy);
        default:
            return {};
    }
}

}  // namespace lagan::cluster
