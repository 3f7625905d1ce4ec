// SPDX-License-Identifier: BSD-3-Clause
// The subcommands of `lagan` that look after one appliance through its node API.
#pragma once

#include <CLI/App.hpp>
#include <functional>
#include <string>

namespace lagan::client::node {

inline constexpr int kDone = 0;
inline constexpr int kFailed = 1;       // the appliance says no, or what was asked for has failed
inline constexpr int kUnreachable = 3;  // no appliance, or none that answers

struct NodeOptions {
    std::string appliance;  // node API's socket
    std::string region;
    bool json = false;
    bool no_wait = false;
    bool cancel = false;    // checkpoint
    uint64_t manifest = 0;  // restore: 0: the newest
    std::string size, reserve;
    bool overcommit = false;
    uint64_t after = 0;  // events
};

// Adds the subcommands. When one of them was parsed, `chosen` is what it does; its result is the exit status.
void add_commands(CLI::App& app, NodeOptions& options, std::function<int()>& chosen);

}  // namespace lagan::client::node
