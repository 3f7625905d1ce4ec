// SPDX-License-Identifier: BSD-3-Clause
// lagan-mgmtd's configuration: what config/lagan-mgmtd.toml says, checked. Errors name file, line, column,
// key and what is allowed there.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "appliance/options.h"
#include "mgmt/cluster/directory.h"
#include "mgmt/cluster/failover_decision.h"
#include "mgmt/cluster/observations.h"
#include "mgmt/http/tcp_address.h"
#include "mgmt/http/tls.h"

namespace lagan::cluster {

struct ListenOptions {
    std::filesystem::path unix_socket;  // or
    http::TcpAddress address;
    http::ServerTlsFiles tls;  // certificate empty: plain HTTP, which only this machine may use
};

struct ManagerOptions {
    std::string name = "mgmtd";
    std::vector<ListenOptions> listen;
    DirectoryOptions directory;
    http::ClientTlsFiles nodes_tls;
    HealthTimes health;
    std::chrono::milliseconds lease_ttl{1500};
    std::chrono::milliseconds leader_ttl{3000};
    FailoverPolicy failover;
    appliance::LogLevel log_level = appliance::LogLevel::info;
};

// Each of `settings` is "key=value" from the command line. Throw appliance::OptionError.
ManagerOptions parse_options(std::string_view toml_text, const std::string& file_name,
                             const std::vector<std::string>& settings = {});
ManagerOptions load_options(const std::filesystem::path& file, const std::vector<std::string>& settings = {});

}  // namespace lagan::cluster
