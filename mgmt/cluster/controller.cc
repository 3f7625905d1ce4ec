// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/cluster/controller.h"

#include <fmt/format.h>

#include <algorithm>

#include "mgmt/cluster/region_creation.h"

namespace lagan::cluster {

using State = RegionRecord::State;

namespace {

constexpr unsigned kMissingMeansLost = 3;  // answers in a row
constexpr size_t kFailoversKept = 200;     // that have ended
constexpr uint64_t kReplyKeptMs = 24 * 3'600'000;
constexpr auto kLookAtReplies = std::chrono::minutes(10);
constexpr uint64_t kHalfMadeMs = 60'000;  // after which whoever makes a region is taken for dead

Copy copy_of(const RegionRecord& region) {
    return {.region = region.name, .uid = region.uid, .epoch = region.epoch};
}

}  // namespace

void Controller::lead(Clock::time_point asked, std::chrono::milliseconds leader_ttl) {
    const auto lease_ttl = parts_.leases.ttl();
    if (parts_.leases.leads(parts_.clocks.now())) {
        parts_.leases.lead(asked, leader_ttl, parts_.clocks.now(), lease_ttl);
        return;
    }
    // The longest lease that an earlier leader may have given. A longer one of ours is on record before it is
    // given, a shorter one when the longer ones are surely over.
    auto entry = parts_.directory.get(kLeaseKey);
    const auto before = std::chrono::milliseconds(entry ? entry->value.at("ttl_ms").get<int64_t>() : 0);
    if (before < lease_ttl && !parts_.directory.put(kLeaseKey, {{"ttl_ms", lease_ttl.count()}},
                                                    entry ? entry->revision : Directory::kAbsent))
        return;  // another leads too, or did just now
    parts_.views.refresh();
    parts_.observations.begin(parts_.clocks.now());
    parts_.leases.lead(asked, leader_ttl, parts_.clocks.now(), std::max(before, lease_ttl));
}

void Controller::beat(const std::string& name) {
    const auto now = parts_.clocks.now();  // a view of before our leadership gives no leases
    const auto view = parts_.views.last();
    const auto node = view->nodes.find(name);
    if (node == view->nodes.end()) return;
    std::vector<Copy> there, copies;  // that must be there, and those that get leases
    for (const auto& [key, region] : view->regions) {
        if (region.value.node != name || region.value.state == State::creating) continue;
        there.push_back(copy_of(region.value));
        if (region.value.served()) copies.push_back(there.back());
    }
    for (const auto& [id, failover] : view->failovers) {  // and those that are read
        const auto region = view->regions.find(failover.value.region);
        if (failover.value.source == name && region != view->regions.end() &&
            region->second.value.node != name)
            there.push_back({.region = failover.value.region,
                             .uid = region->second.value.uid,
                             .epoch = failover.value.source_epoch});
    }
    const LeaseBook::Heartbeat heartbeat = parts_.leases.next_heartbeat(name, copies, now);
    try {
        HeartbeatReply reply = parts_.nodes.heartbeat(node->second.value, heartbeat);
        const auto heard = parts_.clocks.now();
        parts_.leases.heard(name, reply.instance, reply.now_ms, heard);
        parts_.observations.heard(name, std::move(reply), there, heard);
    } catch (const NodeError& error) {
        parts_.observations.failed(name, error.what());
    }
}

std::string Controller::trouble(const RegionRecord& region) const {
    const NodeSeen home = parts_.observations.seen(region.node, parts_.clocks.now());
    if (home.health == NodeSeen::Health::unknown) return "";
    if (!home.up())
        return fmt::format("{} does not answer{}{}", region.node, home.problem.empty() ? "" : ": ",
                           home.problem);
    if (home.last.mode != "serve")
        return fmt::format("{} is there for its {} only", region.node, home.last.mode);
    if (parts_.observations.times_missing(region.node, copy_of(region)) >= kMissingMeansLost)
        return fmt::format("{} has lost the region", region.node);
    const HeardRegion* const copy = home.region(region.name);
    if (copy != nullptr && copy->epoch == region.epoch && copy->lease == "fenced")
        return fmt::format("the region was fenced on {}", region.node);
    return "";
}

void Controller::detect() {
    const auto view = parts_.views.last();
    for (const auto& [name, region] : view->regions) {
        if (region.value.state != State::ready || !region.value.failover.empty()) continue;
        const std::string reason = trouble(region.value);
        if (reason.empty()) continue;
        parts_.runner.begin(region,
                            {.kind = FailoverRecord::Kind::failure, .wanted_target = "", .reason = reason});
    }
}

std::vector<std::string> Controller::failovers() const {
    std::vector<std::string> ids;
    for (const auto& [id, failover] : parts_.views.last()->failovers)
        ids.push_back(id);
    return ids;
}

void Controller::tidy() {
    const auto view = parts_.views.last();
    for (const auto& [name, node] : view->nodes) {
        try {
            tidy_node(*view, name);
        } catch (const NodeError&) {  // tried again
        }
    }
    end_half_made(*view);
    forget_ended_failovers();
    forget_old_replies();
    shorten_lease();
}

// A copy of an older epoch, when the new one is whole: nobody needs it any more.
void Controller::tidy_node(const View& view, const std::string& name) {
    const NodeSeen seen = parts_.observations.seen(name, parts_.clocks.now());
    if (!seen.serves()) return;
    for (const HeardRegion& copy : seen.last.regions) {
        const auto found = view.regions.find(copy.name);
        if (found == view.regions.end()) continue;
        const RegionRecord& region = found->second.value;
        if (region.uid != copy.uid || region.state != State::ready || !region.failover.empty() ||
            copy.epoch >= region.epoch)
            continue;
        parts_.nodes.delete_region(view.nodes.at(name).value, copy.name, copy.epoch);
        parts_.say({.severity = "info",
                    .kind = "stale_copy_deleted",
                    .node = name,
                    .region = copy.name,
                    .tenant = region.tenant,
                    .text = fmt::format("{} had a copy of {} of epoch {}, which is on {} with epoch {}", name,
                                        copy.name, copy.epoch, region.node, region.epoch)});
    }
}

void Controller::end_half_made(const View& view) {
    for (const auto& [name, region] : view.regions) {
        const RegionRecord& r = region.value;
        const bool forgotten =
            r.state == State::creating && parts_.clocks.unix_ms() > r.created_ms + kHalfMadeMs;
        if (r.state != State::deleting && !forgotten) continue;
        try {
            end_half_made(view, region);
        } catch (const NodeError&) {  // tried again when the node is back
        }
    }
}

// The manager that was asked to make or delete it has died in between.
void Controller::end_half_made(const View& view, Versioned<RegionRecord> region) {
    RegionRecord& r = region.value;
    const auto node = view.nodes.find(r.node);
    if (node != view.nodes.end() && r.state == State::deleting)
        parts_.nodes.delete_region(node->second.value, r.name, r.epoch);
    if (node != view.nodes.end() && r.state == State::creating &&
        finish_creation(parts_.nodes, node->second.value, r)) {
        store(parts_.directory, kRegionPrefix, r.name, region);
        return;
    }
    parts_.directory.remove(kRegionPrefix + r.name, region.revision);
}

void Controller::forget_ended_failovers() {
    std::vector<Entry> ended;
    for (Entry& entry : parts_.directory.list(kFailoverPrefix))
        if (entry.value.get<FailoverRecord>().ended()) ended.push_back(std::move(entry));
    if (ended.size() <= kFailoversKept) return;
    ended.resize(ended.size() - kFailoversKept);  // their ids are in the order of time
    for (const Entry& entry : ended)
        parts_.directory.remove(entry.key, entry.revision);
}

// Nobody repeats a request after a day.
void Controller::forget_old_replies() {
    const auto now = parts_.clocks.now();
    if (now < next_look_at_replies_) return;
    next_look_at_replies_ = now + kLookAtReplies;
    for (const Entry& entry : parts_.directory.list(kReplyPrefix))
        if (entry.value.value("time_ms", uint64_t{0}) + kReplyKeptMs < parts_.clocks.unix_ms())
            parts_.directory.remove(entry.key, entry.revision);
}

// The longer leases of an earlier configuration are surely over.
void Controller::shorten_lease() {
    const auto entry = parts_.directory.get(kLeaseKey);
    const auto ttl_ms = parts_.leases.ttl().count();
    if (entry && parts_.leases.settled(parts_.clocks.now()) &&
        entry->value.at("ttl_ms").get<int64_t>() > ttl_ms)
        parts_.directory.put(kLeaseKey, {{"ttl_ms", ttl_ms}}, entry->revision);
}

}  // namespace lagan::cluster
