// SPDX-License-Identifier: BSD-3-Clause
// Regions that go from one node to another: waited for, and shown.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "client/commands/command.h"

namespace lagan::client::commands {

// The failover when it has ended. `what` is said with its progress. As wait_for_end().
nlohmann::json wait_for_move(Server& server, const Options& options, const std::string& id,
                             const std::string& what);

// As a table. `failovers`: whole ones, of any kind.
void print_moves(const nlohmann::json& failovers);

// From its first step to its last.
uint64_t took_ms(const nlohmann::json& failover);

// Waits if that is asked for, and tells how it ended. The exit status.
int finish_move(Server& server, const Options& options, const nlohmann::json& begun, const std::string& what);

}  // namespace lagan::client::commands
