// SPDX-License-Identifier: BSD-3-Clause
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "mgmt/cluster/api_fields.h"
#include "mgmt/cluster/placement.h"
#include "mgmt/cluster/region_creation.h"
#include "mgmt/cluster/status_board.h"

namespace lagan::cluster {

using nlohmann::json;
using State = RegionRecord::State;

namespace {

constexpr uint64_t kGrantSeconds = 3600;
constexpr uint64_t kHomeGrantSeconds = 300;  // of a home lookup: as long as a connection takes, and some
constexpr uint64_t kMaxGrantSeconds = 366ULL * 24 * 3600;

// Why a region was rolled back has to do with machines, which are no tenant's business.
json shown(const ApiCall& call, const std::optional<RollBack>& rolled_back) {
    if (!rolled_back) return nullptr;
    json body = *rolled_back;
    if (call.is_tenant()) body["reason"] = "its home was lost";
    return body;
}

json shown(const ApiCall& call, const RegionRecord& region) {
    json body = region;
    for (const char* internal : {"recover_grant", "granted_ms", "last_epoch"})
        body.erase(internal);
    body["rolled_back"] = shown(call, region.rolled_back);
    if (region.failover.empty()) body["failover"] = nullptr;
    if (region.tenant.empty()) body["tenant"] = nullptr;
    return body;
}

bool visible(const ApiCall& call, const RegionRecord& region) {
    return !call.is_tenant() || region.tenant == call.caller.tenant;
}

// A tenant does not learn whether others have a region of that name.
Versioned<RegionRecord> need(const ApiCall& call) {
    auto region = load<RegionRecord>(call.parts.directory, kRegionPrefix, call.name);
    if (!region || !visible(call, region->value))
        refuse(404, fmt::format("there is no region \"{}\"", call.name));
    return *region;
}

NodeRecord home_of(const ApiCall& call, const RegionRecord& region) {
    const auto node = load<NodeRecord>(call.parts.directory, kNodePrefix, region.node);
    if (!node) refuse(503, fmt::format("the region's node {} is not registered", region.node));
    return node->value;
}

[[noreturn]] void refuse_for_now(const RegionRecord& region) {
    http::Reply reply = http::problem(
        503, fmt::format("region {} is {}{}: try again soon", region.name, to_string(region.state),
                         region.served() ? ", and its home does not answer" : ""));
    reply.headers.emplace_back("Retry-After", "1");
    throw Refused{reply};
}

http::Reply list_regions(const ApiCall& call) {
    return list_page<RegionRecord>(
        call, "regions", kRegionPrefix, [&](const RegionRecord& region) { return visible(call, region); },
        [&](const RegionRecord& region) { return shown(call, region); });
}

http::Reply get_region(const ApiCall& call) {
    return {.body = shown(call, need(call).value)};
}

RegionRecord spec_of(const ApiCall& call) {
    const Fields fields(call.request.body, {"name", "size", "reserve", "overcommit", "tenant", "node"});
    RegionRecord region{.name = checked_name(fields.text("name"), "name"),
                        .node = fields.text("node", ""),
                        .size_bytes = fields.size("size", true),
                        .reserve_bytes = fields.size("reserve", false),
                        .overcommit = fields.flag("overcommit", false),
                        .tenant = fields.text("tenant", call.caller.tenant),
                        .created_ms = call.parts.clocks.unix_ms()};
    if (region.size_bytes == 0) refuse(422, "size: must be more than nothing");
    if (region.reserve_bytes > region.size_bytes) refuse(422, "reserve: is larger than the size");
    if (!region.tenant.empty()) checked_name(region.tenant, "tenant");
    if (call.is_tenant() && region.tenant != call.caller.tenant)
        refuse(403, "tenant: this token makes regions of its own tenant only");
    return region;
}

// Every node is asked itself: a manager that does not lead has heard nothing of them.
NodeRecord choose_node(const ApiCall& call, const RegionRecord& region) {
    std::optional<NodeRecord> best;
    uint64_t room = 0;
    for (const Entry& entry : call.parts.directory.list(kNodePrefix)) {
        const auto node = entry.value.get<NodeRecord>();
        if (!node.enabled || (!region.node.empty() && node.name != region.node)) continue;
        try {
            const json status = call.parts.nodes.status(node);
            const auto unclaimed = status.at("memory").at("unclaimed_bytes").get<uint64_t>();
            if (status.at("mode") != "serve" || unclaimed < needed_bytes(region) ||
                (best && unclaimed <= room))
                continue;
            best = node;
            room = unclaimed;
        } catch (const NodeError&) {
        } catch (const json::exception&) {
        }
    }
    if (best) return *best;
    if (!region.node.empty() && !call.parts.directory.get(kNodePrefix + region.node))
        refuse(422, fmt::format("node: there is no node \"{}\"", region.node));
    refuse(507,
           fmt::format("no node that is enabled and answers has room for {} bytes", needed_bytes(region)));
}

bool node_has(const ApiCall& call, const NodeRecord& node, const std::string& region) {
    try {
        call.parts.nodes.region(node, region);
        return true;
    } catch (const NodeError& error) {
        if (error.status != 404) throw;
        return false;
    }
}

// The request of before, whose answer was lost: it is gone on with, by one of those who ask.
bool resumes(const ApiCall& call, const RegionRecord& old, const RegionRecord& wanted) {
    constexpr uint64_t kInProgressMs = 30'000;  // longer than the manager that makes it waits for the node
    if (old.state != State::creating || old.tenant != wanted.tenant || old.size_bytes != wanted.size_bytes ||
        old.reserve_bytes != wanted.reserve_bytes || old.overcommit != wanted.overcommit ||
        (!wanted.node.empty() && wanted.node != old.node))
        return false;
    if (call.parts.clocks.unix_ms() < old.created_ms + kInProgressMs) refuse_for_now(old);
    return true;
}

// On record as "creating", before its node is asked: what a manager that dies in between leaves is found.
Versioned<RegionRecord> begin_creation(const ApiCall& call) {
    Versioned<RegionRecord> region{.value = spec_of(call)};
    RegionRecord& r = region.value;
    if (const auto old = load<RegionRecord>(call.parts.directory, kRegionPrefix, r.name)) {
        if (!resumes(call, old->value, r))
            refuse(409, fmt::format("there is a region \"{}\" already", r.name));
        r.node = old->value.node;
        region.revision = old->revision;
    } else {
        const NodeRecord node = choose_node(call, r);
        r.node = node.name;
        if (node_has(call, node, r.name))
            refuse(409, fmt::format("node {} has a region \"{}\" that is not managed", r.node, r.name));
    }
    if (!store(call.parts.directory, kRegionPrefix, r.name, region))
        refuse(409, fmt::format("there is a region \"{}\" already", r.name));
    return region;
}

http::Reply create_region(const ApiCall& call) {
    auto region = begin_creation(call);
    RegionRecord& r = region.value;
    const NodeRecord node = home_of(call, r);
    if (!node_has(call, node, r.name)) {
        try {
            call.parts.nodes.create_region(node, r);
        } catch (const NodeError& error) {
            // Refused: nothing was made. No answer: it may have been, and the leader looks.
            if (error.status != 0) call.parts.directory.remove(kRegionPrefix + r.name, region.revision);
            throw;
        }
    }
    if (!finish_creation(call.parts.nodes, node, r, call.parts.clocks.unix_ms()))
        refuse(502, fmt::format("node {} has made the region and lost it again, or another one of its name "
                                "that is not managed was made there meanwhile",
                                r.node));
    if (!store(call.parts.directory, kRegionPrefix, r.name, region)) {
        if (!load<RegionRecord>(call.parts.directory, kRegionPrefix, r.name))  // deleted meanwhile
            note_deletion(call.parts.directory, r, call.parts.clocks.unix_ms());
        refuse(409, fmt::format("region {} was changed while it was made: look at it", r.name));
    }
    call.parts.events.add({.severity = "info",
                           .kind = "region_created",
                           .node = r.node,
                           .region = r.name,
                           .tenant = r.tenant,
                           .text = fmt::format("created on {}", r.node)});
    return {.status = 201, .body = shown(call, r)};
}

// By force: whatever its node says, and whatever failover is under way. What is left of it anywhere is
// deleted when it is found.
http::Reply delete_region(const ApiCall& call) {
    const bool force = is_forced(call);
    auto region = need(call);
    RegionRecord& r = region.value;
    if (!r.failover.empty() && !force)
        refuse(409, fmt::format("region {} has failover {} under way: wait for its end", r.name, r.failover));
    r.state = State::deleting;
    if (!store(call.parts.directory, kRegionPrefix, r.name, region))
        refuse(409, "the region was changed at the same moment: send the request again");
    const auto node = load<NodeRecord>(call.parts.directory, kNodePrefix, r.node);
    try {
        if (node) delete_home_copy(call.parts.nodes, node->value, r);
    } catch (const NodeError& error) {
        // Else the leader goes on when the node is back.
        if (!force) return {.status = 202, .body = shown(call, r)};
    }
    note_deletion(call.parts.directory, r, call.parts.clocks.unix_ms());
    if (!call.parts.directory.remove(kRegionPrefix + r.name, region.revision) &&
        load<RegionRecord>(call.parts.directory, kRegionPrefix, r.name))
        refuse(409, "the region was changed at the same moment: send the request again");
    call.parts.events.add({.severity = force ? "warning" : "info",
                           .kind = "region_deleted",
                           .node = r.node,
                           .region = r.name,
                           .tenant = r.tenant,
                           .text = force ? "deleted by force" : "deleted"});
    return {.status = 204};
}

std::string checked_role(const std::string& role) {
    if (role != "read" && role != "write") refuse(422, "role: must be \"read\" or \"write\"");
    return role;
}

http::Reply make_grant(const ApiCall& call) {
    const Fields fields(call.request.body, {"role", "ttl_seconds"});
    const std::string role = checked_role(fields.text("role"));
    const uint64_t ttl_s = fields.number("ttl_seconds", 1, kMaxGrantSeconds, kGrantSeconds);
    const auto region = need(call);
    if (!region.value.served()) refuse_for_now(region.value);
    const IssuedGrant grant = call.parts.nodes.grant(home_of(call, region.value), call.name, role, ttl_s);
    return {.status = 201,
            .body = {{"grant", grant.grant}, {"expires", grant.expires}, {"epoch", region.value.epoch}}};
}

// What a client needs to connect, wherever the region lives by now.
http::Reply get_home(const ApiCall& call) {
    const std::string asked = call.query("role");
    const std::string role = checked_role(asked.empty() ? "write" : asked);
    const RegionRecord region = need(call).value;
    if (!region.served()) refuse_for_now(region);
    const NodeRecord node = home_of(call, region);
    // Nobody waits for one that is known to be silent: others wait for the same workers.
    if (node_status(call.parts, node.name).at("health") == to_string(NodeSeen::Health::suspect))
        refuse_for_now(region);
    IssuedGrant grant;
    try {
        grant = call.parts.nodes.grant(node, call.name, role, kHomeGrantSeconds);
    } catch (const NodeError& error) {  // gone, and nobody has found out yet
        http::Reply reply = from_node(call, error);
        reply.status = 503;
        reply.body["status"] = 503;
        reply.headers.emplace_back("Retry-After", "1");
        return reply;
    }
    return {.body = {{"region", region.name},
                     {"uid", region.uid},
                     {"epoch", region.epoch},
                     {"state", to_string(region.state)},
                     {"size_bytes", region.size_bytes},
                     {"node", node.name},
                     {"address", node.address},
                     {"port", node.port},
                     {"grant", grant.grant},
                     {"expires", grant.expires},
                     {"rolled_back", shown(call, region.rolled_back)}}};
}

// A node's answer: why something went wrong has to do with machines and paths; what is in the way has not.
http::Reply seen_by(const ApiCall& call, unsigned status, json body) {
    constexpr unsigned kConflict = 409;
    if (call.is_tenant() && status >= 400 && status != kConflict)
        return from_node(call, NodeError(status, ""));
    if (call.is_tenant() && body.contains("problem") && !body["problem"].is_null())
        body["problem"] = "it has failed; the operator sees why";
    http::Reply reply{.status = status, .body = std::move(body)};
    reply.problem = status >= 400;
    return reply;
}

// Handed on to the region's home.
http::Reply checkpoint(const ApiCall& call) {
    const RegionRecord region = need(call).value;
    if (!region.served()) refuse_for_now(region);
    auto [status, body] = call.parts.nodes.call(home_of(call, region), call.request.method,
                                                "/v1/regions/" + call.name + "/checkpoint", {});
    return seen_by(call, status, std::move(body));
}

// The cuts in its baseline, as its home finds them. What a region that had this name before left in the store
// is not this one's.
http::Reply list_checkpoints(const ApiCall& call) {
    const RegionRecord region = need(call).value;
    if (!region.served()) refuse_for_now(region);
    auto [status, body] =
        call.parts.nodes.call(home_of(call, region), "GET", "/v1/baselines/" + call.name, {});
    if (status == 404) return {.body = {{"region", call.name}, {"cuts", json::array()}}};
    if (status >= 400) return seen_by(call, status, std::move(body));
    json cuts = json::array();
    for (json& cut : body.at("cuts"))
        if (cut.at("uid") == region.uid) cuts.push_back(seen_by(call, status, std::move(cut)).body);
    return {.body = {{"region", call.name}, {"cuts", std::move(cuts)}}};
}

constexpr std::array<ApiRoute, 10> kRoutes{{
    {"GET", "/v1/regions", Access::read, list_regions},
    {"POST", "/v1/regions", Access::use, create_region, true},
    {"GET", "/v1/regions/{}", Access::read, get_region},
    {"DELETE", "/v1/regions/{}", Access::use, delete_region},
    {"GET", "/v1/regions/{}/home", Access::use, get_home},
    {"POST", "/v1/regions/{}/grants", Access::use, make_grant},
    {"GET", "/v1/regions/{}/checkpoint", Access::read, checkpoint},
    {"POST", "/v1/regions/{}/checkpoint", Access::use, checkpoint, true},
    {"DELETE", "/v1/regions/{}/checkpoint", Access::use, checkpoint},
    {"GET", "/v1/regions/{}/checkpoints", Access::read, list_checkpoints},
}};

}  // namespace

std::span<const ApiRoute> region_routes() {
    return kRoutes;
}

}  // namespace lagan::cluster
