// SPDX-License-Identifier: BSD-3-Clause
#include "appliance/node_api.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <boost/algorithm/string/split.hpp>
#include <chrono>
#include <span>
#include <string_view>
#include <thread>
#include <vector>

#include "appliance/api_request.h"
#include "appliance/grant.h"
#include "appliance/size_text.h"

namespace lagan::appliance {

using nlohmann::json;
using namespace std::chrono_literals;

json to_json(const RegionStatus& region) {
    return {{"name", region.name},
            {"id", region.id},
            {"size_bytes", region.size_bytes},
            {"reserve_bytes", region.reserve_bytes},
            {"page_bytes", region.page_bytes},
            {"present_pages", region.present_pages},
            {"dirty_pages", region.dirty_pages},
            {"damaged_pages", region.damaged_pages},
            {"draining_pages", region.draining_pages},
            {"cut_number", region.cut_number},
            {"durable_cut", region.durable_cut},
            {"state", region.restoring    ? "restoring"
                      : region.rebuilding ? "rebuilding"
                                          : "ready"},
            {"pending_pages", region.pending_pages},
            {"managed", region.managed},
            {"lease", region.lease},
            {"fence_epoch", region.fence_epoch},
            {"temporary", region.temporary},
            {"uid", fmt::format("{:016x}", region.uid)},
            {"epoch", region.epoch},
            {"data_rkey", region.data_rkey},
            {"dirty_rkey", region.dirty_rkey},
            {"connections", region.connections}};
}

namespace {

constexpr auto kWaitForCheckpoint = 10s;
constexpr uint64_t kMaxTtlSeconds = 366ULL * 24 * 3600;
constexpr uint64_t kDefaultTtlSeconds = 3600;

// ---- From structs to JSON ----

json to_json(const PortStatus& port) {
    return {{"name", port.name},
            {"kind", port.kind},
            {"path", port.path},
            {"mac", port.mac},
            {"addresses", port.addresses},
            {"peer_address", port.peer_address.empty() ? json() : json(port.peer_address)},
            {"mtu_bytes", port.mtu_bytes},
            {"link_up", port.link_up}};
}

json to_json(const NodeStatus& node) {
    json ports = json::array();
    for (const PortStatus& port : node.ports)
        ports.push_back(to_json(port));
    json left_out = json::array();
    for (const LeftOutStatus& region : node.left_out)
        left_out.push_back({{"id", region.id}, {"reason", region.reason}});
    return {{"name", node.name},
            {"mode", node.rescue ? "rescue" : "serve"},
            {"left_out", std::move(left_out)},
            {"version", node.version},
            {"uptime_s", node.uptime_s},
            {"memory",
             {{"total_bytes", node.memory_bytes},
              {"free_bytes", node.memory_free_bytes},
              {"unclaimed_bytes", node.memory_unclaimed_bytes},
              {"arena", node.arena},
              {"huge_pages", node.huge_pages}}},
            {"rdma", {{"service_port", node.rdma_service_port}}},
            {"ports", std::move(ports)},
            {"lcores", node.lcores}};
}

// ---- From JSON to structs: every field hostile ----

RegionSpec parse_region_spec(const std::string& text) {
    constexpr std::array<std::string_view, 6> kFields{"name",       "size",      "reserve",
                                                      "overcommit", "temporary", "managed"};
    const json body = parse_body(text, kFields);
    RegionSpec spec;
    spec.name = text_field(body, "name");
    spec.size_bytes = size_field(body, "size", true);
    spec.reserve_bytes = size_field(body, "reserve", false);
    spec.overcommit = flag_field(body, "overcommit");
    spec.temporary = flag_field(body, "temporary");
    spec.managed = flag_field(body, "managed");
    if (spec.temporary && spec.managed) refuse(422, "managed: a temporary region has no lease");
    if (spec.size_bytes == 0) refuse(422, "size: must be more than nothing");
    if (spec.reserve_bytes > spec.size_bytes) refuse(422, "reserve: is larger than the size");
    if (spec.reserve_bytes != 0 && spec.reserve_bytes < spec.size_bytes && !spec.overcommit) {
        refuse(422,
               "reserve: is smaller than the size, so that stores can run out of memory; set \"overcommit\": "
               "true if that "
               "is meant");
    }
    return spec;
}

struct GrantSpec {
    Role role;
    uint64_t ttl_s;
};

GrantSpec parse_grant_spec(const std::string& text) {
    constexpr std::array<std::string_view, 2> kFields{"role", "ttl_seconds"};
    const json body = parse_body(text, kFields);
    GrantSpec spec{Role::none, kDefaultTtlSeconds};
    if (!role_from_name(text_field(body, "role"), spec.role))
        refuse(422, "role: must be \"read\", \"write\" or \"recover\"");
    spec.ttl_s = number_field(body, "ttl_seconds", 1, kMaxTtlSeconds, kDefaultTtlSeconds);
    return spec;
}

// ---- Routes ----

http::Reply get_node(const Call& call) {
    return {.body = to_json(call.control.run([&] { return call.service.node(); }))};
}

http::Reply get_stats(const Call& call) {
    return {.body = call.control.run([&] { return call.service.statistics(); })};
}

http::Reply list_regions(const Call& call) {
    json list = json::array();
    for (const auto& region : call.control.run([&] { return call.service.regions(); }))
        list.push_back(to_json(region));
    return {.body = {{"regions", std::move(list)}}};
}

http::Reply create_region(const Call& call) {
    const RegionSpec spec = parse_region_spec(call.request.body);
    return {.status = 201,
            .body = to_json(call.control.run([&] { return call.service.create_region(spec); }))};
}

http::Reply get_region(const Call& call) {
    return {.body = to_json(call.control.run([&] { return call.service.region(call.name); }))};
}

// A checkpoint of the region is cancelled first; it needs a moment to notice.
http::Reply delete_region(const Call& call) {
    const auto epoch = number_in_query(call.request.target, "epoch");
    const auto end = std::chrono::steady_clock::now() + kWaitForCheckpoint;
    for (;;) {
        try {
            call.control.run([&] { call.service.delete_region(call.name, epoch); });
            return {.status = 204};
        } catch (const ServiceError& error) {
            if (error.kind != ServiceError::Kind::busy || std::chrono::steady_clock::now() >= end) throw;
            std::this_thread::sleep_for(20ms);
        }
    }
}

http::Reply make_grant(const Call& call) {
    const GrantSpec spec = parse_grant_spec(call.request.body);
    const auto grant =
        call.control.run([&] { return call.service.make_grant(call.name, spec.role, spec.ttl_s); });
    return {.status = 201, .body = {{"grant", grant.hex}, {"expires", grant.expires_unix_s}}};
}

constexpr std::array<Route, 7> kRoutes{{
    {"GET", "v1/node", get_node},
    {"GET", "v1/stats", get_stats},
    {"GET", "v1/regions", list_regions},
    {"POST", "v1/regions", create_region},
    {"GET", "v1/regions/{}", get_region},
    {"DELETE", "v1/regions/{}", delete_region, Waits::for_checkpoint},
    {"POST", "v1/regions/{}/grants", make_grant},
}};

std::vector<std::string> segments(std::string_view path) {
    std::vector<std::string> parts;
    boost::algorithm::split(parts, path, [](char c) { return c == '/'; });
    return parts;
}

// Whether `path` is of the route's form; `name` becomes what stood at {}.
bool matches(const Route& route, const std::vector<std::string>& path, std::string& name) {
    const auto pattern = segments(route.path);
    if (pattern.size() != path.size()) return false;
    for (size_t i = 0; i < path.size(); ++i) {
        if (pattern[i] == "{}") {
            name = path[i];
        } else if (pattern[i] != path[i]) {
            return false;
        }
    }
    return true;
}

struct Match {
    const Route* route = nullptr;             // null: none with this method
    std::string name{};                       // what stood at {}
    std::vector<std::string_view> allowed{};  // methods of the routes with this path
};

Match find_route(const http::Request& request) {
    const std::string_view target = request.target;
    if (!target.starts_with('/')) refuse(400, "the request target must be a path");
    const auto path = segments(
        target.substr(1, target.find('?') == std::string_view::npos ? target.npos : target.find('?') - 1));
    Match match;
    for (const std::span<const Route> routes :
         {std::span<const Route>(kRoutes), recovery_routes(), rebuild_routes(), lease_routes()})
        for (const Route& route : routes) {
            if (!matches(route, path, match.name)) continue;
            match.allowed.push_back(route.method);
            if (route.method != request.method) continue;
            match.route = &route;
            return match;
        }
    return match;
}

http::Reply dispatch(NodeService& service, ControlQueue& control, const http::Request& request) {
    const Match match = find_route(request);
    if (match.route != nullptr) return match.route->handler({service, control, request, match.name});
    if (match.allowed.empty())
        refuse(404, "there is no such resource; GET /v1/node, /v1/regions and /v1/stats are where to start");
    http::Reply reply =
        http::problem(405, fmt::format("this resource takes {}", fmt::join(match.allowed, ", ")));
    reply.headers.emplace_back("Allow", fmt::format("{}", fmt::join(match.allowed, ", ")));
    return reply;
}

Waits what_for(const http::Request& request) {
    try {
        const Match match = find_route(request);
        return match.route == nullptr ? Waits::no : match.route->waits;
    } catch (const Refused&) {
        return Waits::no;
    }
}

unsigned http_status(ServiceError::Kind kind) {
    switch (kind) {
        case ServiceError::Kind::not_found:
            return 404;
        case ServiceError::Kind::exists:
            return 409;
        case ServiceError::Kind::invalid:
            return 422;
        case ServiceError::Kind::no_room:
            return 507;
        case ServiceError::Kind::unavailable:
        case ServiceError::Kind::busy:
            return 503;
        case ServiceError::Kind::forbidden:
            return 403;
    }
    return 500;
}

}  // namespace

http::Reply NodeApi::handle(const http::Request& request) const {
    try {
        return dispatch(service_, control_, request);
    } catch (const Refused& refused) {
        return refused.reply;
    } catch (const ServiceError& error) {
        return http::problem(http_status(error.kind), error.what());
    } catch (const QueueClosed& error) {
        return http::problem(503, error.what());
    } catch (const std::exception& error) {
        return http::problem(500, error.what());
    }
}

http::Handlers NodeApi::handlers() const {
    // By Waits. The store's workers are few, and a request that would wait long is better refused.
    return {.lanes = {{.threads = 2, .max_requests = 64, .what = "the control thread"},
                      {.threads = 2, .max_requests = 16, .what = "the end of a checkpoint"},
                      {.threads = 4, .max_requests = 16, .what = "the baseline store"},
                      {.threads = 4, .max_requests = 64, .what = "another appliance"}},
            .lane_of = [](const http::Request& request) { return static_cast<size_t>(what_for(request)); },
            .handle = [this](const http::Request& request) { return handle(request); }};
}

}  // namespace lagan::appliance
