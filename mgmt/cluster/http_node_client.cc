// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/cluster/http_node_client.h"

#include <fmt/format.h>

namespace lagan::cluster {

using nlohmann::json;

namespace {

constexpr unsigned kNotFound = 404;

// What a node says is of another process: it may lack anything.
template <typename Read>
auto understood(const NodeRecord& node, Read&& read) {
    try {
        return read();
    } catch (const json::exception& error) {
        throw NodeError(0, fmt::format("node {}: its answer is not understood: {}", node.name, error.what()));
    }
}

std::string detail_of(const json& body) {
    return body.is_object() && body.contains("detail") && body["detail"].is_string()
               ? body["detail"].get<std::string>()
               : "";
}

HeardRegion heard_region(const json& from) {
    return {.name = from.at("name"),
            .uid = from.at("uid"),
            .epoch = from.at("epoch"),
            .state = from.at("state"),
            .lease = from.at("lease"),
            .dirty_pages = from.value("dirty_pages", uint64_t{0})};
}

}  // namespace

HttpNodeClient::HttpNodeClient(const Options& options) : options_(options) {
    if (!options.tls.ca.empty()) tls_ = http::client_tls(options.tls);
}

std::pair<unsigned, json> HttpNodeClient::ask(const NodeRecord& node, const std::string& method,
                                              const std::string& target, const json& body,
                                              std::chrono::milliseconds timeout) const {
    const auto endpoint = http::parse_endpoint(node.api);
    if (!endpoint)
        throw NodeError(0, fmt::format("node {}: {} is no address of a node API", node.name, node.api));
    if (endpoint->tls && !tls_)
        throw NodeError(0, fmt::format("node {}: {} wants TLS: set nodes.ca, nodes.certificate and nodes.key",
                                       node.name, node.api));
    try {
        const http::Client client(
            {.to = *endpoint, .tls = endpoint->tls ? tls_ : nullptr, .timeout = timeout});
        const http::Response response = client.call(method, target, body.is_null() ? "" : body.dump());
        json answer = json::parse(response.body, nullptr, false);
        return {response.status, answer.is_discarded() ? json() : std::move(answer)};
    } catch (const http::ClientError& error) {
        throw NodeError(0, fmt::format("node {}: {}", node.name, error.what()));
    }
}

json HttpNodeClient::need(const NodeRecord& node, const std::string& method, const std::string& target,
                          const json& body, std::chrono::milliseconds timeout) const {
    auto [status, answer] = ask(node, method, target, body, timeout);
    if (status < 200 || status >= 300) {
        const std::string detail = detail_of(answer);
        throw NodeError(status, fmt::format("node {}: {}", node.name,
                                            detail.empty() ? fmt::format("HTTP status {}", status) : detail));
    }
    return std::move(answer);
}

HeartbeatReply HttpNodeClient::heartbeat(const NodeRecord& node, const LeaseBook::Heartbeat& heartbeat) {
    json body{{"regions", json::array()}};
    if (!heartbeat.instance.empty()) {
        body["instance"] = heartbeat.instance;
        body["base_ms"] = heartbeat.base_ms;
        body["ttl_ms"] = heartbeat.ttl.count();
    }
    for (const Copy& copy : heartbeat.copies)
        body["regions"].push_back({{"name", copy.region}, {"uid", copy.uid}, {"epoch", copy.epoch}});
    auto [status, answer] = ask(node, "POST", "/v1/heartbeat", body, options_.heartbeat_timeout);
    if (status != 200)
        throw NodeError(status,
                        fmt::format("node {}: heartbeat: {} {}", node.name, status, detail_of(answer)));
    return understood(node, [&, &body = answer] {
        // Another one's regions and clock are not this one's.
        if (const json& name = body.at("node"); name != node.name)
            throw NodeError(0, fmt::format("node {}: {} is called {}: correct it with PATCH /v1/nodes/{}",
                                           node.name, node.api, name.dump(), node.name));
        HeartbeatReply reply{.instance = body.at("instance"),
                             .now_ms = body.at("now_ms"),
                             .mode = body.at("mode"),
                             .total_bytes = body.at("memory").at("total_bytes"),
                             .unclaimed_bytes = body.at("memory").at("unclaimed_bytes"),
                             .regions = {}};
        for (const json& region : body.at("regions"))
            reply.regions.push_back(heard_region(region));
        return reply;
    });
}

json HttpNodeClient::status(const NodeRecord& node) {
    return need(node, "GET", "/v1/node", {}, options_.quick);
}

json HttpNodeClient::region(const NodeRecord& node, const std::string& name) {
    return need(node, "GET", "/v1/regions/" + name, {}, options_.quick);
}

json HttpNodeClient::create_region(const NodeRecord& node, const RegionRecord& region) {
    // Managed from the start: frozen until its first lease, of which the lease book knows.
    json body{{"name", region.name},
              {"size", region.size_bytes},
              {"overcommit", region.overcommit},
              {"managed", true}};
    if (region.reserve_bytes != 0) body["reserve"] = region.reserve_bytes;
    return need(node, "POST", "/v1/regions", body, options_.timeout);
}

void HttpNodeClient::delete_region(const NodeRecord& node, const std::string& name, uint64_t epoch) {
    try {
        need(node, "DELETE", fmt::format("/v1/regions/{}?epoch={}", name, epoch), {}, options_.timeout);
    } catch (const NodeError& error) {
        if (error.status != kNotFound) throw;
    }
}

IssuedGrant HttpNodeClient::grant(const NodeRecord& node, const std::string& region, const std::string& role,
                                  uint64_t ttl_s) {
    const json answer = need(node, "POST", "/v1/regions/" + region + "/grants",
                             {{"role", role}, {"ttl_seconds", ttl_s}}, options_.quick);
    return understood(
        node, [&] { return IssuedGrant{.grant = answer.at("grant"), .expires = answer.at("expires")}; });
}

std::optional<bool> HttpNodeClient::has_store(const NodeRecord& node, const std::string& region) {
    constexpr unsigned kNoStore = 409;
    try {
        const unsigned status = ask(node, "GET", "/v1/baselines/" + region, {}, options_.quick).first;
        if (status == kNoStore) return false;
        if (status == 200 || status == kNotFound) return true;  // nothing of it is there yet
    } catch (const NodeError& error) {
        if (error.status != 0) throw;
    }
    return std::nullopt;
}

void HttpNodeClient::order_rebuild(const NodeRecord& target, const RebuildOrder& order) {
    json body{{"region", order.region},
              {"uid", order.uid},
              {"epoch", order.epoch},
              {"size_bytes", order.size_bytes},
              {"reserve_bytes", order.reserve_bytes},
              {"overcommit", order.overcommit},
              {"baseline", order.baseline},
              {"managed", true},
              {"source", json()}};
    if (order.source)
        body["source"] = {{"address", order.source->address},
                          {"port", order.source->port},
                          {"grant", order.source->grant},
                          {"epoch", order.source->epoch}};
    need(target, "POST", "/v1/rebuilds", body, options_.timeout);
}

std::optional<RebuildStatus> HttpNodeClient::rebuild(const NodeRecord& target, const std::string& region) {
    json answer;
    try {
        answer = need(target, "GET", "/v1/rebuilds/" + region, {}, options_.quick);
    } catch (const NodeError& error) {
        if (error.status == kNotFound) return std::nullopt;
        throw;
    }
    return understood(target, [&] {
        const json& problem = answer.at("problem");
        RebuildStatus status{.state = answer.at("state"),
                             .epoch = answer.at("epoch"),
                             .fenced = answer.at("fenced"),
                             .cut_number = answer.value("cut_number", uint64_t{0}),
                             .cut_time_us = answer.value("cut_time_us", uint64_t{0}),
                             .problem = problem.is_string() ? problem.get<std::string>() : "",
                             .progress = {}};
        status.progress = std::move(answer);
        return status;
    });
}

void HttpNodeClient::drop_rebuild(const NodeRecord& target, const std::string& region, uint64_t epoch) {
    try {
        need(target, "DELETE", fmt::format("/v1/rebuilds/{}?epoch={}", region, epoch), {}, options_.timeout);
    } catch (const NodeError& error) {
        if (error.status != kNotFound) throw;
    }
}

Probe HttpNodeClient::probe(const NodeRecord& by, const NodeRecord& source, const std::string& grant) {
    try {
        const json answer =
            need(by, "POST", "/v1/probes",
                 {{"address", source.address}, {"port", source.port}, {"grant", grant}}, options_.timeout);
        return understood(by, [&] {
            if (answer.at("reachable").get<bool>()) return Probe::answers;
            return answer.value("refused", false) ? Probe::refuses : Probe::silent;
        });
    } catch (const NodeError&) {
        return Probe::not_asked;
    }
}

std::pair<unsigned, json> HttpNodeClient::call(const NodeRecord& node, const std::string& method,
                                               const std::string& target, const json& body) {
    return ask(node, method, target, body, options_.timeout);
}

}  // namespace lagan::cluster
