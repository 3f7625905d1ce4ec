// SPDX-License-Identifier: BSD-3-Clause
// Calls an appliance's node API (HTTP/JSON on its unix socket). Blocking, for the control path: the lagan
// command and tests.
#pragma once

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

namespace lagan::client {

struct NodeReply {
    unsigned status = 0;  // HTTP
    nlohmann::json body;  // null when the reply has no body

    bool ok() const { return status >= 200 && status < 300; }
    // What the appliance says is wrong (problem+json's detail), in one line; empty when ok().
    std::string error() const;
};

// One connection per call: any number of threads may have a client each. Every call throws std::runtime_error
// when the appliance cannot be reached, does not answer in time, or answers with something that is not JSON;
// the message names the socket and says what to do.
class NodeClient {
  public:
    explicit NodeClient(std::filesystem::path socket,
                        std::chrono::milliseconds timeout = std::chrono::seconds(10));

    // `target` is the path, "/v1/regions".
    NodeReply get(const std::string& target) const;
    NodeReply post(const std::string& target, const nlohmann::json& body) const;
    NodeReply del(const std::string& target) const;

  private:
    std::filesystem::path socket_;
    std::chrono::milliseconds timeout_;
};

}  // namespace lagan::client
