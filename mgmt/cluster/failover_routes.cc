// SPDX-License-Identifier: BSD-3-Clause
#include <fmt/format.h>

#include <array>

#include "mgmt/cluster/api_fields.h"

namespace lagan::cluster {

using nlohmann::json;
using Kind = FailoverRecord::Kind;
using Step = FailoverRecord::Step;

namespace {

json shown(const ApiCall& call, const FailoverRecord& failover) {
    json body = failover;
    for (const char* internal : {"source_grant", "baseline_claimed"})
        body.erase(internal);
    body["rolls_back"] = failover.loses_stores();
    body["ended"] = failover.ended();
    if (call.is_tenant()) {  // what is wrong with which machine is no tenant's business
        body["reason"] = body["problem"] = body["cancelled_by"] = "";
        body["progress"] = nullptr;
    }
    for (const char* key : {"tenant", "target", "wanted_target", "lease_over_by", "problem", "cancelled_by"})
        if (body[key] == "") body[key] = nullptr;
    return body;
}

// Of the tenant whose region it was: a region of the same name may be another's by now.
bool visible(const ApiCall& call, const FailoverRecord& failover) {
    return !call.is_tenant() || failover.tenant == call.caller.tenant;
}

Versioned<FailoverRecord> need(const ApiCall& call) {
    auto failover = load<FailoverRecord>(call.parts.directory, kFailoverPrefix, call.name);
    if (!failover || !visible(call, failover->value))
        refuse(404, fmt::format("there is no failover \"{}\"", call.name));
    return *failover;
}

http::Reply list_failovers(const ApiCall& call) {
    return list_page<FailoverRecord>(
        call, "failovers", kFailoverPrefix,
        [&](const FailoverRecord& failover) { return visible(call, failover); },
        [&](const FailoverRecord& failover) { return shown(call, failover); });
}

http::Reply get_failover(const ApiCall& call) {
    FailoverRecord f = need(call).value;
    // How far the target is, it says itself.
    if (!f.ended() && f.step >= Step::fencing) {
        try {
            const auto target = load<NodeRecord>(call.parts.directory, kNodePrefix, f.target);
            const auto rebuild = target ? call.parts.nodes.rebuild(target->value, f.region) : std::nullopt;
            if (rebuild && rebuild->epoch == f.epoch) f.progress = rebuild->progress;
        } catch (const NodeError&) {
        }
    }
    return {.body = shown(call, f)};
}

// The leader goes back to the source, if that serves and was not fenced yet.
http::Reply cancel_failover(const ApiCall& call) {
    auto failover = need(call);
    FailoverRecord& f = failover.value;
    if (f.ended() || f.step >= Step::switched)
        refuse(409, fmt::format("it is {}: there is no way back", to_string(f.step)));
    if (f.kind == Kind::failure)
        refuse(
            409,
            "a failure cannot be cancelled: it ends by itself when the region's home serves again; a region "
            "that is lost for good is given up by DELETE /v1/regions/NAME?force=true");
    f.cancelled_by = call.caller.name;
    if (!store(call.parts.directory, kFailoverPrefix, f.id, failover))
        refuse(409, "it has gone on at the same moment: look at it, and send the request again");
    return {.status = 202, .body = shown(call, f)};
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
    return {.status = 202, .body = shown(call, failover->value)};
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

constexpr std::array<ApiRoute, 5> kRoutes{{
    {"GET", "/v1/failovers", Access::read, list_failovers},
    {"POST", "/v1/failovers", Access::operate, start_failover, true},
    {"GET", "/v1/failovers/{}", Access::read, get_failover},
    {"DELETE", "/v1/failovers/{}", Access::operate, cancel_failover},
    {"POST", "/v1/moves", Access::operate, start_move, true},
}};

}  // namespace

std::span<const ApiRoute> failover_routes() {
    return kRoutes;
}

}  // namespace lagan::cluster
