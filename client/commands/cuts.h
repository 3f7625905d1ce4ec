// SPDX-License-Identifier: BSD-3-Clause
// Checkpoints and restores: pages on their way to a baseline or from there.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "client/commands/command.h"

namespace lagan::client::commands {

// A baseline's cuts, as a table.
void print_cuts(const nlohmann::json& cuts);

// Waits if that is asked for, at `target`, and tells how it ended. `bytes_key`: what was written or read. The
// exit status.
int finish_copying(Server& server, const Options& options, const nlohmann::json& begun,
                   const std::string& target, const std::string& what, const char* bytes_key);

}  // namespace lagan::client::commands
