// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/cluster/controller.h"

#include <fmt/format.h>

#include <algorithm>

#include "mgmt/cluster/placement.h"
#include "mgmt/cluster/region_creation.h"

namespace lagan::cluster {

using State = RegionRecord::State;

namespace {

constexpr unsigned kMissingMeansLost = 3;  // answers in a row
constexpr size_t kFailoversKept = 200;     // that have ended
constexpr uint64_t kDayMs = 24 * 3'600'000;
constexpr uint64_t kDeletedKeptMs = 30 * kDayMs;  // a node that is away for longer keeps its old copies
constexpr auto kLookAtNotes = std::chrono::minutes(10);
constexpr auto kDrainAgain = std::chrono::seconds(10);
constexpr auto kFrozenForLong = std::chrono::seconds(10);
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
    parts_.runner.forget_waits();
    parts_.leases.lead(asked, leader_ttl, parts_.clocks.now(), std::max(before, lease_ttl));
}

void Controller::beat(const std::string& name) {
    const auto now = parts_.clocks.now();  // a view of before our leadership gives no leases
    const auto view = parts_.views.last();
    const auto node = view->nodes.find(name);
    if (node == view->nodes.end()) return;
    std::vector<Copy> there;                // that must be there
    std::vector<LeaseBook::Served> served;  // that get leases
    for (const auto& [key, region] : view->regions) {
        if (region.value.node != name || region.value.state == State::creating) continue;
        there.push_back(copy_of(region.value));
        if (region.value.served()) served.push_back({.copy = there.back(), .revision = region.revision});
    }
    for (const auto& [id, failover] : view->failovers) {  // and those that are read
        const auto region = view->regions.find(failover.value.region);
        if (failover.value.source == name && region != view->regions.end() &&
            region->second.value.node != name)
            there.push_back({.region = failover.value.region,
                             .uid = region->second.value.uid,
                             .epoch = failover.value.source_epoch});
    }
    const LeaseBook::Heartbeat heartbeat = parts_.leases.next_heartbeat(name, served, now);
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
    release_left(*view);
    end_half_made(*view);
    renew_grants(*view);
    drain(*view);
    warn_of_frozen(*view);
    forget_ended_failovers();
    forget_old_notes();
    shorten_lease();
}

// Copies that nobody needs any more: of the attempts before the one that the region lives by, and of regions
// that were deleted. A region that no record names is not touched: it may be somebody else's.
void Controller::tidy_node(const View& view, const std::string& name) {
    const NodeSeen seen = parts_.observations.seen(name, parts_.clocks.now());
    if (!seen.serves()) return;
    for (const HeardRegion& copy : seen.last.regions) {
        const auto found = view.regions.find(copy.name);
        if (found == view.regions.end() || found->second.value.uid != copy.uid) {
            if (copy.lease != "unmanaged" && parts_.directory.get(kDeletedPrefix + copy.uid))
                delete_copy(view, name, copy, "its region was deleted");
            continue;
        }
        const RegionRecord& region = found->second.value;
        if (region.state == State::ready && region.failover.empty() && copy.epoch != region.epoch &&
            copy.epoch <= region.last_epoch)
            delete_copy(view, name, copy, "its region lives elsewhere by now");
    }
}

void Controller::delete_copy(const View& view, const std::string& name, const HeardRegion& copy,
                             const char* why) {
    const NodeRecord& node = view.nodes.at(name).value;
    if (copy.state == "rebuilding") parts_.nodes.drop_rebuild(node, copy.name, copy.epoch);
    parts_.nodes.delete_region(node, copy.name, copy.epoch);
    const auto region = view.regions.find(copy.name);
    const bool known = region != view.regions.end() && region->second.value.uid == copy.uid;
    parts_.say(
        {.severity = "info",
         .kind = "stale_copy_deleted",
         .node = name,
         .region = copy.name,
         .tenant = known ? region->second.value.tenant : "",
         .text = fmt::format("{} had a copy of {} of epoch {}: {}", name, copy.name, copy.epoch, why)});
}

// They end after a time, and with the key that they were made with.
void Controller::renew_grants(const View& view) {
    const uint64_t now_ms = parts_.clocks.unix_ms();
    for (const auto& [name, record] : view.regions) {
        auto region = record;
        const auto node = view.nodes.find(region.value.node);
        if (region.value.state != State::ready || !region.value.failover.empty() ||
            node == view.nodes.end() || now_ms < region.value.granted_ms + kDayMs ||
            !parts_.observations.seen(region.value.node, parts_.clocks.now()).serves())
            continue;
        try {
            grant_recovery(parts_.nodes, node->second.value, region.value, now_ms);
            store(parts_.directory, kRegionPrefix, name, region);
        } catch (const NodeError&) {  // the next time
        }
    }
}

// Those that were busy when it was asked for, and those whose move has failed.
void Controller::drain(const View& view) {
    const auto now = parts_.clocks.now();
    std::erase_if(next_drain_, [&](const auto& next) { return now >= next.second; });
    for (const auto& [name, region] : view.regions) {
        const auto node = view.nodes.find(region.value.node);
        if (node == view.nodes.end() || !node->second.value.draining || region.value.state != State::ready ||
            !region.value.failover.empty() || next_drain_.contains(name) ||
            place(view, parts_.observations, now, needed_bytes(region.value), {region.value.node}).empty())
            continue;
        next_drain_[name] = now + kDrainAgain;
        parts_.runner.begin(region, {.kind = FailoverRecord::Kind::move,
                                     .wanted_target = "",
                                     .reason = region.value.node + " is drained"});
    }
}

// Its node answers, and nobody is served: nothing that a failover would mend, and nothing to be silent about.
void Controller::warn_of_frozen(const View& view) {
    const auto now = parts_.clocks.now();
    std::set<std::string> frozen;
    for (const auto& [name, region] : view.regions) {
        const NodeSeen home = parts_.observations.seen(region.value.node, now);
        const HeardRegion* const copy = home.region(name);
        if (!region.value.served() || !home.serves() || copy == nullptr ||
            copy->epoch != region.value.epoch || copy->lease != "expired")
            continue;
        frozen.insert(name);
        const auto since = frozen_since_.try_emplace(name, now).first->second;
        if (now - since < kFrozenForLong || !said_frozen_.insert(name).second) continue;
        parts_.say({.severity = "alarm",
                    .kind = "region_frozen",
                    .node = region.value.node,
                    .region = name,
                    .tenant = region.value.tenant,
                    .text = fmt::format("{} answers, and the lease of {} there has been over for {} s",
                                        region.value.node, name, kFrozenForLong.count())});
    }
    std::erase_if(frozen_since_, [&](const auto& region) { return !frozen.contains(region.first); });
    std::erase_if(said_frozen_, [&](const std::string& name) { return !frozen.contains(name); });
}

// Left by a manager that died between the end of a failover and the look at its region.
void Controller::release_left(const View& view) {
    for (const auto& [name, region] : view.regions)
        if (region.value.state == State::failing_over && !view.failovers.contains(region.value.failover))
            parts_.runner.release_if_ended(name, region.value.failover);
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
        delete_home_copy(parts_.nodes, node->second.value, r);
    if (node != view.nodes.end() && r.state == State::creating &&
        finish_creation(parts_.nodes, node->second.value, r, parts_.clocks.unix_ms())) {
        store(parts_.directory, kRegionPrefix, r.name, region);
        return;
    }
    if (r.state == State::deleting) note_deletion(parts_.directory, r, parts_.clocks.unix_ms());
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
void Controller::forget_old_notes() {
    const auto now = parts_.clocks.now();
    if (now < next_look_at_notes_) return;
    next_look_at_notes_ = now + kLookAtNotes;
    for (const auto& [prefix, kept_ms] : {std::pair(kReplyPrefix, kDayMs), {kDeletedPrefix, kDeletedKeptMs}})
        for (const Entry& entry : parts_.directory.list(prefix))
            if (entry.value.value("time_ms", uint64_t{0}) + kept_ms < parts_.clocks.unix_ms())
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
