// SPDX-License-Identifier: BSD-3-Clause
#include <fmt/format.h>

#include <array>

#include "mgmt/cluster/api_fields.h"

namespace lagan::cluster {

using nlohmann::json;
using Kind = FailoverRecord::Kind;
using Step = FailoverRecord::Step;

namespace {

json shown(const FailoverRecord& failover) {
    json body = failover;
    body.erase("source_grant");
    body["ended"] = failover.ended();
    for (const char* key : {"target", "wanted_target", "lease_over_by", "problem"})
        if (body[key] == "") body[key] = nullptr;
    return body;
}

bool visible(const ApiCall& call, const std::string& region) {
    if (!call.is_tenant()) return true;
    const auto found = load<RegionRecord>(call.parts.directory, kRegionPrefix, region);
    return found && found->value.tenant == call.caller.tenant;
}

http::Reply list_failovers(const ApiCall& call) {
    return list_page<FailoverRecord>(
        call, "failovers", kFailoverPrefix,
        [&](const FailoverRecord& failover) { return visible(call, failover.region); }, shown);
}

http::Reply get_failover(const ApiCall& call) {
    auto failover = load<FailoverRecord>(call.parts.directory, kFailoverPrefix, call.name);
    if (!failover || !visible(call, failover->value.region))
        refuse(404, fmt::format("there is no failover \"{}\"", call.name));
    FailoverRecord& f = failover->value;
    // How far the target is, it says itself.
    if (!f.ended() && f.step >= Step::fencing) {
        try {
            const auto target = load<NodeRecord>(call.parts.directory, kNodePrefix, f.target);
            const auto rebuild = target ? call.parts.nodes.rebuild(target->value, f.region) : std::nullopt;
            if (rebuild && rebuild->epoch == f.epoch) f.progress = rebuild->progress;
        } catch (const NodeError&) {
        }
    }
    return {.body = shown(f)};
}

http::Reply begin(const ApiCall& call, Kind kind, const std::string& name, const std::string& target,
                  const std::string& reason) {
    const auto region = load<RegionRecord>(call.parts.directory, kRegionPrefix, name);
    if (!region) refuse(404, fmt::format("there is no region \"{}\"", name));
    if (!target.empty() && !call.parts.directory.get(kNodePrefix + target))
        refuse(422, fmt::format("target: there is no node \"{}\"", target));
    if (target == region->value.node) refuse(409, fmt::format("region {} is on {} already", name, target));
    const std::string id =
        call.parts.runner.begin(*region, {.kind = kind, .wanted_target = target, .reason = reason});
    if (id.empty())
        refuse(409,
               fmt::format("region {} is {}: it can be moved when it is ready, and nothing else is under way",
                           name, to_string(region->value.state)));
    const auto failover = load<FailoverRecord>(call.parts.directory, kFailoverPrefix, id);
    if (!failover) refuse(503, "the failover has been superseded at once: look at the region");
    return {.status = 202, .body = shown(failover->value)};
}

// A drill: the region's home is given up, though nothing is wrong with it.
http::Reply start_failover(const ApiCall& call) {
    const Fields fields(call.request.body, {"region", "target", "reason"});
    return begin(call, Kind::drill, fields.text("region"), fields.text("target", ""),
                 fields.text("reason", "asked for by " + call.caller.name));
}

http::Reply start_move(const ApiCall& call) {
    const Fields fields(call.request.body, {"region", "target", "reason"});
    return begin(call, Kind::move, fields.text("region"), fields.text("target", ""),
                 fields.text("reason", "asked for by " + call.caller.name));
}

constexpr std::array<ApiRoute, 4> kRoutes{{
    {"GET", "/v1/failovers", Access::read, list_failovers},
    {"POST", "/v1/failovers", Access::operate, start_failover, true},
    {"GET", "/v1/failovers/{}", Access::read, get_failover},
    {"POST", "/v1/moves", Access::operate, start_move, true},
}};

}  // namespace

std::span<const ApiRoute> failover_routes() {
    return kRoutes;
}

}  // namespace lagan::cluster
