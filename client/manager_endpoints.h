// SPDX-License-Identifier: BSD-3-Clause
// The managers of a cluster, and the token: what every caller of lagan-mgmtd's REST API needs.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "mgmt/http/client.h"

namespace lagan::client {

struct ManagerOptions {
    // "https://far:7480", "http://127.0.0.1:7480", "unix:/run/lagan/mgmtd.sock": several are managers of one
    // cluster.
    std::vector<std::string> urls;
    std::filesystem::path token_file;  // empty: none
    std::filesystem::path ca;          // https: of the manager's certificate; empty: the system's
};

// Blocking. Single-threaded. Calls throw http::ClientError.
class ManagerEndpoints {
  public:
    // Reads the files. Throws std::runtime_error: no such file, an address that is none, or a token that
    // would go over a network in the clear.
    explicit ManagerEndpoints(const ManagerOptions& options);

    size_t count() const { return endpoints_.size(); }
    std::string name(size_t place) const { return to_string(endpoints_[place]); }
    // That one is the first from now on.
    void prefer(size_t place);

    // The token's file is read again when it is not accepted: tokens are replaced while programs run.
    http::Response call(size_t place, const std::string& method, const std::string& target,
                        const std::string& body, const http::Headers& more,
                        std::chrono::milliseconds patience);
    // http::Client::follow.
    http::Response follow(size_t place, const std::string& target, const http::Headers& more,
                          std::chrono::milliseconds patience,
                          const std::function<bool(std::string_view)>& take);

  private:
    http::Client client_of(const http::Endpoint& endpoint, std::chrono::milliseconds patience) const;
    http::Headers with(const http::Headers& more) const;
    bool token_was_replaced();
    http::Response authorized(const http::Headers& more,
                              const std::function<http::Response(const http::Headers&)>& ask);

    std::vector<http::Endpoint> endpoints_;
    std::filesystem::path token_file_;
    std::string token_;
    std::shared_ptr<const http::Tls> tls_;
};

// What an answer that is none of the good ones says: problem+json's detail, else its status.
std::string detail_of(const http::Response& response);

}  // namespace lagan::client
