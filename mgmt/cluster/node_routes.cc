// SPDX-License-Identifier: BSD-3-Clause
#include <fmt/format.h>

#include <array>

#include "mgmt/cluster/api_fields.h"
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

// The node is asked who it is: a wrong address is an error now, not a dead node later.
http::Reply register_node(const ApiCall& call) {
    const Fields fields(call.request.body, {"name", "api", "address", "port"});
    NodeRecord node{.name = checked_name(fields.text("name"), "name"), .api = fields.text("api")};
    if (!http::parse_endpoint(node.api))
        refuse(422, "api: must be a unix socket's path, http://HOST:PORT or https://HOST:PORT");
    const json status = call.parts.nodes.status(node);
    try {
        if (status.at("name") != node.name)
            refuse(422, fmt::format("name: the node at {} is called {}", node.api,
                                    status.at("name").get<std::string>()));
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
    if (!http::parse_endpoint(node.value.api))
        refuse(422, "api: must be a unix socket's path, http://HOST:PORT or https://HOST:PORT");
    node.value.address = fields.text("address", node.value.address);
    node.value.port = static_cast<uint16_t>(fields.number("port", 1, UINT16_MAX, node.value.port));
    node.value.enabled = fields.flag("enabled", node.value.enabled);
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

http::Reply remove_node(const ApiCall& call) {
    const auto node = need(call);
    const auto regions = regions_at(call);
    if (!regions.empty())
        refuse(409, fmt::format("{} is the home of {} regions: drain it first (POST /v1/nodes/{}/drain)",
                                call.name, regions.size(), call.name));
    if (!call.parts.directory.remove(kNodePrefix + call.name, node.revision))
        refuse(409, "the node was changed at the same moment: look at it, and send the request again");
    call.parts.events.add({.severity = "info",
                           .kind = "node_removed",
                           .node = call.name,
                           .text = fmt::format("node {} removed", call.name)});
    return {.status = 204};
}

// No new regions, and those that it has go elsewhere.
http::Reply drain_node(const ApiCall& call) {
    const Fields fields(call.request.body, {});
    auto node = need(call);
    node.value.enabled = false;
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
