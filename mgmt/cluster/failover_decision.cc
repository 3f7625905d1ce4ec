// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/cluster/failover_decision.h"

#include <fmt/format.h>

#include <array>

namespace lagan::cluster {

using Action = FailoverAction;
using Kind = FailoverRecord::Kind;
using Source = FailoverRecord::Source;
using Step = FailoverRecord::Step;

namespace {

constexpr const char* kFenced = "fenced";
constexpr const char* kRebuilding = "rebuilding";

uint64_t waited_ms(const FailoverRecord& failover, const FailoverFacts& facts) {
    if (failover.times.empty() || failover.times.front().second > facts.now_ms) return 0;
    return facts.now_ms - failover.times.front().second;
}

uint64_t waited_in_step_ms(const FailoverRecord& failover, const FailoverFacts& facts) {
    if (failover.times.empty() || failover.times.back().second > facts.now_ms) return 0;
    return facts.now_ms - failover.times.back().second;
}

bool source_has_copy(const FailoverRecord& failover, const FailoverFacts& facts) {
    const HeardRegion* const region = facts.source.region(failover.region);
    return facts.source.up() && region != nullptr && region->epoch == failover.source_epoch;
}

// The old home serves as soon as it gets a lease again, and nothing was lost.
bool may_cancel(const FailoverRecord& failover, const RegionRecord& region, const FailoverFacts& facts) {
    return failover.kind == Kind::failure && region.epoch == failover.source_epoch && facts.source.serves() &&
           source_has_copy(failover, facts) && facts.source.region(failover.region)->lease != kFenced;
}

FailoverDecision of_claim(const FailoverRecord& failover, const RegionRecord& region) {
    const bool at_source = region.node == failover.source && region.epoch == failover.source_epoch;
    if (!region.failover.empty()) return {.action = Action::supersede, .text = "by " + region.failover};
    if (failover.step >= Step::rebuilding && region.epoch == failover.epoch)
        return {.action = Action::note_end};
    if (failover.step == Step::detected && at_source && region.served()) return {.action = Action::claim};
    if (at_source) return {.action = Action::cancel};  // its end is not yet on record
    return {.action = Action::supersede, .text = "the region is elsewhere"};
}

FailoverDecision of_detected(const FailoverRecord& failover, const RegionRecord& region,
                             const FailoverFacts& facts) {
    if (may_cancel(failover, region, facts)) return {.action = Action::cancel};
    if (!facts.candidates.empty())
        return {.action = Action::choose_target, .target = facts.candidates.front()};
    if (failover.kind != Kind::failure)
        return {.action = Action::fail, .text = "no other node has room for it"};
    return {.text = "no node has room for it: add memory, or enable a node"};
}

FailoverDecision of_target_chosen(const FailoverRecord& failover, const RegionRecord& region,
                                  const FailoverFacts& facts, const FailoverPolicy& policy) {
    if (may_cancel(failover, region, facts)) return {.action = Action::cancel};
    if (!facts.target.serves()) return {.action = Action::next_target, .text = "it does not answer"};
    if (source_has_copy(failover, facts))
        return {.action = Action::decide_source,
                .source = facts.source.last.mode == "rescue" ? Source::rescue : Source::live};
    // One answer without the copy may be older than the copy.
    if (facts.source.up() && !facts.source_lost_it)
        return {.text = fmt::format("{} answers, and it is not certain that it has lost the region",
                                    failover.source)};
    if (!failover.source_given_up) {
        if (facts.probe.value_or(false)) return {.action = Action::decide_source, .source = Source::live};
        if (waited_ms(failover, facts) < static_cast<uint64_t>(policy.rescue_wait.count()))
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
        if (failover.kind != Kind::failure) return {.action = Action::fail, .text = problem};
        return {.action = Action::next_target, .text = problem};
    }
    if (waited_in_step_ms(failover, facts) < static_cast<uint64_t>(policy.rescue_wait.count()))
        return {.text = problem};
    return {.action = Action::give_up_source, .text = problem};
}

// The order is at the target, and not yet certain that the old home serves no more.
FailoverDecision of_fencing(const FailoverRecord& failover, const RegionRecord& region,
                            const FailoverFacts& facts, const FailoverPolicy& policy) {
    if (!facts.target.serves() && !facts.rebuild)
        return {.action = Action::next_target, .text = "it does not answer"};
    if (!facts.rebuild) return {.action = Action::order};
    const RebuildStatus& rebuild = *facts.rebuild;
    if (failover.source_kind == Source::none) {
        if (rebuild.lost()) return of_lost_source(failover, facts, policy);
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
    if (!facts.rebuild) return {.action = Action::next_target, .text = "it has forgotten the region"};
    if (facts.rebuild->lost()) return of_lost_source(failover, facts, policy);
    return {.action = Action::switch_home};
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
        return {.action = copy->state == kRebuilding ? Action::order : Action::finish};
    }
    const RebuildStatus& rebuild = *facts.rebuild;
    if (rebuild.state == "done") return {.action = Action::finish};
    if (!rebuild.lost()) return {.text = ""};
    if (failover.source_kind == Source::none || source_has_copy(failover, facts) ||
        waited_in_step_ms(failover, facts) < static_cast<uint64_t>(policy.half_way_wait.count()))
        return {.text = rebuild.problem};
    return {.action = Action::give_up_source, .text = rebuild.problem};
}

}  // namespace

const char* to_string(FailoverAction action) {
    constexpr std::array<const char*, 17> kNames{
        "wait",           "claim",          "reclaim",       "choose_target", "decide_source", "order",
        "lease_is_over",  "switch_home",    "note_switched", "finish",        "note_end",      "next_target",
        "give_up_source", "abandon_target", "cancel",        "supersede",     "fail"};
    return kNames.at(static_cast<size_t>(action));
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
