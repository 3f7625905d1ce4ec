// SPDX-License-Identifier: BSD-3-Clause
// The subcommands of `lagan` for operators: they ask a manager, or one appliance.
#pragma once

#include "client/commands/command.h"

namespace lagan::client::commands {

// The builder outlives the parsing and chosen().
void add_node_commands(CLI::App& app, Builder& builder);
void add_region_commands(CLI::App& app, Builder& builder);  // and baselines
void add_grant_commands(CLI::App& app, Builder& builder);
void add_checkpoint_commands(CLI::App& app, Builder& builder);
void add_failover_commands(CLI::App& app, Builder& builder);
void add_event_command(CLI::App& app, Builder& builder);

inline void add_commands(CLI::App& app, Builder& builder) {
    add_node_commands(app, builder);
    add_region_commands(app, builder);
    add_grant_commands(app, builder);
    add_checkpoint_commands(app, builder);
    add_failover_commands(app, builder);
    add_event_command(app, builder);
}

}  // namespace lagan::client::commands
