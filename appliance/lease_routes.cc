// SPDX-License-Identifier: BSD-3-Clause
// What a manager says to a node: heartbeats, which renew leases, and fences.
#include <fmt/format.h>

#include <array>
#include <charconv>

#include "appliance/api_request.h"
#include "appliance/lease_clock.h"

namespace lagan::appliance {

using nlohmann::json;

namespace {

constexpr uint64_t kAnyNumber = std::numeric_limits<uint64_t>::max();

uint64_t uid_field(const json& body) {
    const std::string text = text_field(body, "uid");
    uint64_t uid = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), uid, 16);
    if (error != std::errc() || end != text.data() + text.size() || text.size() != 16)
        refuse(422, "uid: must be the 16 hexadecimal digits that GET /v1/regions shows");
    return uid;
}

HeartbeatRequest parse_heartbeat(const std::string& text) {
    constexpr std::array<std::string_view, 4> kFields{"instance", "base_ms", "ttl_ms", "regions"};
    constexpr std::array<std::string_view, 3> kRegionFields{"name", "uid", "epoch"};
    const json body = parse_body(text, kFields);
    HeartbeatRequest request;
    if (body.contains("base_ms")) {
        request.instance = text_field(body, "instance");
        request.base_ms = number_field(body, "base_ms", 0, kMaxTimeMs, 0);
        request.ttl_ms = number_field(body, "ttl_ms", kMinLeaseMs, kMaxLeaseMs, 0);
        if (request.ttl_ms == 0) refuse(422, "ttl_ms: is missing");
    }
    if (!body.contains("regions")) return request;
    if (!body["regions"].is_array()) refuse(422, "regions: must be a list");
    for (const json& region : body["regions"]) {
        if (!region.is_object()) refuse(422, "regions: each must be an object");
        known_fields_only(region, kRegionFields);
        request.regions.push_back({.name = text_field(region, "name"),
                                   .uid = uid_field(region),
                                   .epoch = number_field(region, "epoch", 1, kAnyNumber, 0)});
    }
    return request;
}

http::Reply heartbeat(const Call& call) {
    const HeartbeatRequest request = parse_heartbeat(call.request.body);
    const HeartbeatReply reply = call.control.run([&] { return call.service.heartbeat(request); });
    json regions = json::array(), refused = json::array();
    for (const RegionStatus& region : reply.regions)
        regions.push_back(to_json(region));
    for (const auto& [name, reason] : reply.refused)
        refused.push_back({{"name", name}, {"reason", reason}});
    return {.body = {{"node", reply.node},
                     {"instance", reply.instance},
                     {"now_ms", reply.now_ms},
                     {"mode", reply.rescue ? "rescue" : "serve"},
                     {"heartbeat", reply.heartbeat},
                     {"regions", std::move(regions)},
                     {"refused", std::move(refused)},
                     {"memory",
                      {{"total_bytes", reply.memory_bytes},
                       {"free_bytes", reply.memory_free_bytes},
                       {"unclaimed_bytes", reply.memory_unclaimed_bytes}}}}};
}

http::Reply fence_region(const Call& call) {
    constexpr std::array<std::string_view, 1> kFields{"epoch"};
    const json body = parse_body(call.request.body, kFields);
    const uint64_t epoch = number_field(body, "epoch", 1, kAnyNumber, 0);
    if (epoch == 0) refuse(422, "epoch: is missing");
    return {.body = to_json(call.control.run([&] { return call.service.fence_region(call.name, epoch); }))};
}

constexpr std::array<Route, 2> kRoutes{{
    {"POST", "v1/heartbeat", heartbeat},
    {"POST", "v1/regions/{}/fence", fence_region},
}};

}  // namespace

std::span<const Route> lease_routes() {
    return kRoutes;
}

}  // namespace lagan::appliance
