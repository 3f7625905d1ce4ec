// SPDX-License-Identifier: BSD-3-Clause
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "mgmt/cluster/api_fields.h"
#include "mgmt/cluster/region_creation.h"
#include "mgmt/cluster/status_board.h"
#include "mgmt/http/client.h"

namespace lagan::cluster {

using nlohmann::json;

namespace {

std::optional<Versioned<NodeRecord>> find(const ApiCall& call) {
    return load<NodeRecord>(call.parts.directory, kNodePrefix, call.name);
}

Versioned<NodeRecord> need(const ApiCall& call) {
    auto node = find(call);
    if (!node) refuse(404, fmt::format("there is no node \"{}\"", call.name));
    return *node;
}

json shown(const ApiCall& call, const NodeRecord& node) {
    json body = node;
    body.update(node_status(call.parts, node.name));
    return body;
}

// "10.77.0.1" of the first port that has one.
std::string address_of(const json& status) {
    for (const json& port : status.at("ports"))
        for (const json& address : port.at("addresses")) {
            const auto text = address.get<std::string>();
            return text.substr(0, text.find('/'));
        }
    return "";
}

http::Reply list_nodes(const ApiCall& call) {
    return list_page<NodeRecord>(
        call, "nodes", kNodePrefix, [](const NodeRecord&) { return true; },
        [&](const NodeRecord& node) { return shown(call, node); });
}

http::Reply get_node(const ApiCall& call) {
    return {.body = shown(call, need(call).value)};
}

// Grants go there: in the clear on this machine only.
void check_api(const std::string& api) {
    const auto endpoint = http::parse_endpoint(api);
    if (!endpoint)
        refuse(422, "api: must be a unix socket's path, http://127.0.0.1:PORT or https://HOST:PORT");
    if (endpoint->unix_socket.empty() && !endpoint->tls && !http::is_loopback(endpoint->tcp))
        refuse(422,
               "api: http:// is for this machine's own addresses; elsewhere a node is reached by https://");
}

// The node is asked who it is: a wrong address is an error now, not a dead node later.
json status_of(const ApiCall& call, const NodeRecord& node) {
    check_api(node.api);
    json status = call.parts.nodes.status(node);
    const json name = status.is_object() ? status.value("name", json()) : json();
    if (!name.is_string()) refuse(502, fmt::format("what answers at {} is no lagand", node.api));
    if (name != node.name)
        refuse(422, fmt::format("name: the node at {} is called {}", node.api, name.get<std::string>()));
    return status;
}

http::Reply register_node(const ApiCall& call) {
    const Fields fields(call.request.body, {"name", "api", "address", "port"});
    NodeRecord node{.name = checked_name(fields.text("name"), "name"), .api = fields.text("api")};
    const json status = status_of(call, node);
    try {
        node.address = fields.text("address", address_of(status));
        node.port = static_cast<uint16_t>(
            fields.number("port", 1, UINT16_MAX, status.at("rdma").at("service_port").get<uint16_t>()));
    } catch (const json::exception&) {
        refuse(502, fmt::format("what answers at {} is no lagand", node.api));
    }
    if (node.address.empty()) refuse(422, "address: is missing, and the node has no port with one");
    if (!call.parts.directory.put(kNodePrefix + node.name, node, Directory::kAbsent))
        refuse(409, fmt::format("there is a node \"{}\" already", node.name));
    call.parts.events.add({.severity = "info",
                           .kind = "node_registered",
                           .node = node.name,
                           .text = fmt::format("node {} registered: {}", node.name, node.api)});
    return {.status = 201, .body = shown(call, node)};
}

http::Reply change_node(const ApiCall& call) {
    const Fields fields(call.request.body, {"api", "address", "port", "enabled"});
    auto node = need(call);
    node.value.api = fields.text("api", node.value.api);
    if (fields.has("api")) status_of(call, node.value);
    node.value.address = fields.text("address", node.value.address);
    node.value.port = static_cast<uint16_t>(fields.number("port", 1, UINT16_MAX, node.value.port));
    node.value.enabled = fields.flag("enabled", node.value.enabled);
    node.value.draining = node.value.draining && !node.value.enabled;
    if (!store(call.parts.directory, kNodePrefix, call.name, node))
        refuse(409, "the node was changed at the same moment: look at it, and send the request again");
    return {.body = shown(call, node.value)};
}

std::vector<Versioned<RegionRecord>> regions_at(const ApiCall& call) {
    std::vector<Versioned<RegionRecord>> regions;
    for (const Entry& entry : call.parts.directory.list(kRegionPrefix)) {
        Versioned<RegionRecord> region{.value = entry.value.get<RegionRecord>(), .revision = entry.revision};
        if (region.value.node == call.name) regions.push_back(std::move(region));
    }
    return regions;
}

// Where its regions are deleted, and it does not come back for that, they go with it, by force.
http::Reply remove_node(const ApiCall& call) {
    const bool force = is_forced(call);
    const auto node = need(call);
    const auto regions = regions_at(call);
    const auto is_wanted = [&](const Versioned<RegionRecord>& region) {
        return !force || (region.value.state != RegionRecord::State::deleting &&
                          region.value.state != RegionRecord::State::creating);
    };
    if (const auto wanted = std::count_if(regions.begin(), regions.end(), is_wanted); wanted != 0)
        refuse(409, fmt::format(
                        "{} is the home of {} regions: drain it first (POST /v1/nodes/{}/drain); those that "
                        "are lost with it are given up by DELETE /v1/regions/NAME?force=true",
                        call.name, wanted, call.name));
    for (const Entry& entry : call.parts.directory.list(kFailoverPrefix))
        if (const auto f = entry.value.get<FailoverRecord>();
            !force && !f.ended() && (f.source == call.name || f.target == call.name))
            refuse(409, fmt::format("failover {} of region {} needs it: wait for its end", f.id, f.region));
    if (!call.parts.directory.remove(kNodePrefix + call.name, node.revision))
        refuse(409, "the node was changed at the same moment: look at it, and send the request again");
    for (const auto& region : regions) {
        note_deletion(call.parts.directory, region.value, call.parts.clocks.unix_ms());
        call.parts.directory.remove(kRegionPrefix + region.value.name, region.revision);
    }
    call.parts.events.add({.severity = "info",
                           .kind = "node_removed",
                           .node = call.name,
                           .text = fmt::format("node {} removed", call.name)});
    return {.status = 204};
}

// No new regions, and those that it has go elsewhere: now, or when the leader finds that they can.
http::Reply drain_node(const ApiCall& call) {
    const Fields fields(call.request.body, {});
    auto node = need(call);
    node.value.enabled = false;
    node.value.draining = true;
    if (!store(call.parts.directory, kNodePrefix, call.name, node))
        refuse(409, "the node was changed at the same moment: send the request again");
    json moves = json::array(), busy = json::array();
    for (auto& region : regions_at(call)) {
        const std::string id = call.parts.runner.begin(
            region,
            {.kind = FailoverRecord::Kind::move, .wanted_target = "", .reason = call.name + " is drained"});
        if (id.empty())
            busy.push_back(region.value.name);
        else
            moves.push_back({{"id", id}, {"region", region.value.name}});
    }
    return {.status = 202, .body = {{"moves", std::move(moves)}, {"busy", std::move(busy)}}};
}

constexpr std::array<ApiRoute, 6> kRoutes{{
    {"GET", "/v1/nodes", Access::observe, list_nodes},
    {"POST", "/v1/nodes", Access::operate, register_node, true},
    {"GET", "/v1/nodes/{}", Access::observe, get_node},
    {"PATCH", "/v1/nodes/{}", Access::operate, change_node},
    {"DELETE", "/v1/nodes/{}", Access::operate, remove_node},
    {"POST", "/v1/nodes/{}/drain", Access::operate, drain_node, true},
}};

}  // namespace

std::span<const ApiRoute> node_routes() {
    return kRoutes;
}

}  // namespace lagan::cluster
