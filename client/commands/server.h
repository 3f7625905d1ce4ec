// SPDX-License-Identifier: BSD-3-Clause
// Whom a command asks: lagan-mgmtd's REST API, or one appliance's node API. Both are JSON over HTTP, and both
// say what is wrong as problem+json.
#pragma once

#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>

#include "client/manager_endpoints.h"
#include "client/node_client.h"

namespace lagan::client::commands {

struct Where {
    ManagerOptions manager;
    std::string appliance;  // its node API's socket; asked if the manager has no URL
};

// The answer was no; what() is its own words.
struct Refused : std::runtime_error {
    unsigned status;  // HTTP
    Refused(unsigned http_status, const std::string& text) : std::runtime_error(text), status(http_status) {}
};

// Blocking. Every call throws Refused, or std::runtime_error when nobody answers. A manager that says "not
// now" (503 with Retry-After) is asked again for a while.
class Server {
  public:
    explicit Server(const Where& where, std::chrono::milliseconds patience = std::chrono::seconds(10));

    const Where& where() const { return where_; }
    bool is_manager() const { return managers_.has_value(); }

    nlohmann::json get(const std::string& target);
    // All pages of a list: {"KEY": [...]}.
    nlohmann::json list(const std::string& target, const char* key);
    nlohmann::json patch(const std::string& target, const nlohmann::json& body);
    nlohmann::json del(const std::string& target);
    nlohmann::json post(const std::string& target, const nlohmann::json& body);
    // A request that makes something: it has an Idempotency-Key (`key`, or one of its own), so that asking
    // again when an answer was lost does not do it twice.
    nlohmann::json create(const std::string& target, const nlohmann::json& body, const std::string& key = {});

    // Managers: events with higher numbers than `after`, as they happen, until `take` says false; also when a
    // manager goes away meanwhile. Throws std::runtime_error too when none has answered for a minute.
    void follow_events(uint64_t after, const std::function<bool(const nlohmann::json&)>& take);

  private:
    nlohmann::json ask(const std::string& method, const std::string& target, const nlohmann::json& body,
                       const std::string& key);
    struct Attempt {
        std::optional<http::Response> response;  // of the first manager that answers
        std::string why;                         // there is none
        bool sent = false;                       // it may have been carried out all the same
    };
    Attempt ask_each(const std::string& method, const std::string& target, const std::string& body,
                     const http::Headers& headers);
    nlohmann::json ask_appliance(const std::string& method, const std::string& target,
                                 const nlohmann::json& body) const;

    const Where where_;
    std::optional<ManagerEndpoints> managers_;
    std::optional<NodeClient> appliance_;
    const std::chrono::milliseconds patience_;
};

}  // namespace lagan::client::commands
