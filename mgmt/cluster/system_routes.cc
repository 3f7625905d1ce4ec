// SPDX-License-Identifier: BSD-3-Clause
#include <fmt/format.h>

#include <array>
#include <map>

#include "mgmt/cluster/api_fields.h"
#include "mgmt/cluster/openapi.h"
#include "mgmt/cluster/status_board.h"

namespace lagan::cluster {

using nlohmann::json;

namespace {

std::string leader_name(const ApiCall& call) {
    const json leader = json::parse(call.parts.directory.leader(), nullptr, false);
    return leader.is_object() ? leader.value("name", "") : "";
}

// Good: the directory answers. Whether this one leads makes no difference to who asks.
http::Reply health(const ApiCall& call) {
    call.parts.directory.revision();
    return {.body = {{"status", "good"}}};
}

http::Reply openapi(const ApiCall&) {
    return {.text = std::string(openapi_document()), .content_type = "application/json"};
}

http::Reply cluster(const ApiCall& call) {
    const std::string leader = leader_name(call);
    return {.body = {{"name", call.parts.self},
                     {"version", LAGAN_VERSION},
                     {"leads", call.parts.leases.leads(call.parts.clocks.now())},
                     {"leader", leader.empty() ? json() : json(leader)},
                     {"directory", call.parts.directory.describe()},
                     {"lease_ttl_ms", call.parts.leases.ttl().count()}}};
}

http::Reply metrics(const ApiCall& call) {
    const auto view = call.parts.views.refresh();
    std::map<std::string, int> nodes, regions, failovers;
    uint64_t total = 0, unclaimed = 0;
    for (const auto& [name, node] : view->nodes) {
        const json status = node_status(call.parts, name);
        ++nodes[status.at("health").get<std::string>()];
        total += status.at("total_bytes").get<uint64_t>();
        unclaimed += status.at("unclaimed_bytes").get<uint64_t>();
    }
    int rolled_back = 0;
    for (const auto& [name, region] : view->regions) {
        ++regions[to_string(region.value.state)];
        rolled_back += region.value.rolled_back.has_value();
    }
    for (const auto& [id, failover] : view->failovers)
        ++failovers[to_string(failover.value.step)];
    std::string text;
    const auto one = [&](const char* name, const char* help, auto value) {
        text += fmt::format("# HELP {0} {1}\n# TYPE {0} gauge\n{0} {2}\n", name, help, value);
    };
    const auto by = [&](const char* name, const char* help, const char* label,
                        const std::map<std::string, int>& values) {
        text += fmt::format("# HELP {0} {1}\n# TYPE {0} gauge\n", name, help);
        for (const auto& [key, value] : values)
            text += fmt::format("{}{{{}=\"{}\"}} {}\n", name, label, key, value);
    };
    one("lagan_mgmtd_leads", "Whether this manager leads.",
        call.parts.leases.leads(call.parts.clocks.now()) ? 1 : 0);
    by("lagan_nodes", "Nodes by health.", "health", nodes);
    one("lagan_memory_bytes", "Memory of all nodes.", total);
    one("lagan_memory_unclaimed_bytes", "Memory that no region claims.", unclaimed);
    by("lagan_regions", "Regions by state.", "state", regions);
    one("lagan_regions_rolled_back", "Regions that have lost stores, once.", rolled_back);
    by("lagan_failovers", "Failovers under way, by step.", "step", failovers);
    return {.text = std::move(text), .content_type = "text/plain; version=0.0.4; charset=utf-8"};
}

// ---- Tokens ----

json shown(const TokenRecord& token) {
    json body = token;
    body["id"] = token.hash.substr(0, 16);
    body.erase("hash");
    if (token.tenant.empty()) body["tenant"] = nullptr;
    return body;
}

http::Reply list_tokens(const ApiCall& call) {
    return list_page<TokenRecord>(
        call, "tokens", kTokenPrefix, [](const TokenRecord&) { return true; }, shown);
}

http::Reply create_token(const ApiCall& call) {
    const Fields fields(call.request.body, {"name", "role", "tenant"});
    const std::string name = checked_name(fields.text("name"), "name");
    const auto role = role_from_text(fields.text("role"));
    const std::string tenant = fields.text("tenant", "");
    if (!role) refuse(422, "role: must be \"viewer\", \"tenant\", \"operator\" or \"admin\"");
    if ((*role == TokenRole::tenant) != !tenant.empty())
        refuse(422, "tenant: a token of the role tenant has one, others have none");
    if (!tenant.empty()) checked_name(tenant, "tenant");
    const NewToken token = call.parts.tokens.create(name, *role, tenant, call.parts.clocks.unix_ms());
    json body = shown(token.record);
    body["token"] = token.text;
    http::Reply reply{.status = 201, .body = std::move(body)};
    reply.headers.emplace_back("Cache-Control", "no-store");
    return reply;
}

http::Reply remove_token(const ApiCall& call) {
    if (call.name.size() < 16 || !call.parts.tokens.remove(call.name))
        refuse(404, "there is no token with this id");
    return {.status = 204};
}

constexpr std::array<ApiRoute, 7> kRoutes{{
    {"GET", "/healthz", Access::open, health},
    {"GET", "/openapi.json", Access::open, openapi},
    {"GET", "/metrics", Access::observe, metrics},
    {"GET", "/v1/cluster", Access::observe, cluster},
    {"GET", "/v1/tokens", Access::admin, list_tokens},
    {"POST", "/v1/tokens", Access::admin, create_token},
    {"DELETE", "/v1/tokens/{}", Access::admin, remove_token},
}};

}  // namespace

std::span<const ApiRoute> system_routes() {
    return kRoutes;
}

}  // namespace lagan::cluster
