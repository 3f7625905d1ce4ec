// SPDX-License-Identifier: BSD-3-Clause
// The manager's REST API: who calls, what they may do, and which handler it is. Every manager answers every
// request, out of the directory; only who leads sends heartbeats and carries failovers out.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "mgmt/cluster/event_feed.h"
#include "mgmt/cluster/failover_runner.h"
#include "mgmt/cluster/tokens.h"
#include "mgmt/http/message.h"

namespace lagan::cluster {

struct ApiParts {
    Directory& directory;
    Views& views;
    NodeClient& nodes;
    LeaseBook& leases;
    Observations& observations;
    FailoverRunner& runner;
    Tokens& tokens;
    EventFeed& events;
    FailoverRunner::Clocks clocks;
    std::string self;  // how this manager is called
};

struct ApiCall {
    ApiParts& parts;
    const http::Request& request;
    TokenRecord caller;
    std::string name;  // what stood at {} in the path

    bool is_tenant() const { return caller.role == TokenRole::tenant; }
    // Of "?key=value"; empty: it is not there.
    std::string query(std::string_view key) const;
};

// Who may call a route.
enum class Access : uint8_t {
    open,     // everyone, without a token
    read,     // every role; tenants see their own
    observe,  // viewers, operators, admins
    use,      // tenants (their own), operators, admins
    operate,  // operators, admins
    admin
};

struct ApiRoute {
    std::string_view method;
    std::string_view path;  // "/v1/regions/{}/home"
    Access access;
    http::Reply (*handler)(const ApiCall&);
    bool repeatable = false;  // takes an Idempotency-Key
};

std::span<const ApiRoute> system_routes();  // health, metrics, the OpenAPI document, tokens
std::span<const ApiRoute> node_routes();
std::span<const ApiRoute> region_routes();
std::span<const ApiRoute> failover_routes();  // moves too
std::span<const ApiRoute> event_routes();
std::vector<ApiRoute> all_routes();

class Api {
  public:
    explicit Api(ApiParts parts) : parts_(std::move(parts)), routes_(all_routes()) {}

    // Any thread. Never throws: whatever goes wrong is a reply.
    http::Reply handle(const http::Request& request);

  private:
    http::Reply dispatch(const http::Request& request);
    http::Reply authorized(const ApiRoute& route, const http::Request& request, const std::string& name);
    http::Reply once(const ApiRoute& route, const ApiCall& call, const std::string& key);

    ApiParts parts_;
    const std::vector<ApiRoute> routes_;
};

}  // namespace lagan::cluster
