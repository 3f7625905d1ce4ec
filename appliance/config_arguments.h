// SPDX-License-Identifier: BSD-3-Clause
// What the command lines of lagand and lagan-mgmtd have in common.
#pragma once

#include <CLI/App.hpp>
#include <string>
#include <vector>

namespace lagan::appliance {

struct ConfigArguments {
    std::string config;
    bool check_config = false;
    std::vector<std::string> settings;  // KEY=VALUE each
};

// Options for all of these, and --version. `arguments` outlives the app.
void add_config_arguments(CLI::App& app, ConfigArguments& arguments);

// False when all is done already (--help, --version, or an error that was printed): exit with `status` then.
bool parse(CLI::App& app, int argc, char** argv, int& status);

}  // namespace lagan::appliance
