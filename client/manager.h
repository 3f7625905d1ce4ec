// SPDX-License-Identifier: BSD-3-Clause
// Asks lagan-mgmtd where a region lives.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "client/home.h"
#include "datapath/qp_attributes.h"
#include "mgmt/http/client.h"

namespace lagan::client {

struct ManagerOptions {
    // "https://far:7480", "http://127.0.0.1:7480", "unix:/run/lagan/mgmtd.sock": several are managers of one
    // cluster.
    std::vector<std::string> urls;
    std::filesystem::path token_file;  // empty: none
    std::filesystem::path ca;          // https: of the manager's certificate; empty: the system's
};

// Blocking. Single-threaded.
class Manager {
  public:
    // Reads the files. Throws std::runtime_error: no such file, an address that is none, or a token that
    // would go over a network in the clear.
    explicit Manager(const ManagerOptions& options);

    // The first manager that answers. Throws Refused with its own words, or std::runtime_error when the
    // region has no home at this moment, or no manager answers within `patience`, each.
    Home home_of(const std::string& region, Role role, std::chrono::milliseconds patience);

  private:
    http::Response ask(const http::Endpoint& endpoint, const std::string& target,
                       std::chrono::milliseconds patience) const;

    std::vector<http::Endpoint> endpoints_;  // the one that answered last is the first
    http::Headers headers_;
    std::shared_ptr<const http::Tls> tls_;
};

}  // namespace lagan::client
