// SPDX-License-Identifier: BSD-3-Clause
// Command line options that say where far memory is, the same for every command.
#pragma once

#include <CLI/CLI.hpp>

#include "client/target.h"

namespace lagan::client {

// --fabric, --appliance, --address, --grant, and --manager with what goes with it, for which the caller has a
// --region. Combinations that make no sense are a CLI::ValidationError of parse().
void add_target_options(CLI::App& app, TargetOptions& options);

}  // namespace lagan::client
