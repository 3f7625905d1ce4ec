// SPDX-License-Identifier: BSD-3-Clause
// lagan-mgmtd's command line.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "appliance/config_arguments.h"

namespace lagan::cluster {

struct TokenCommand {
    enum class What : uint8_t { none, create, list, remove } what = What::none;
    std::string name = "first";
    std::string role;
    std::string tenant;
    std::string id;
    bool wanted() const { return what != What::none; }
};

struct CommandLine : appliance::ConfigArguments {
    TokenCommand token;
};

// Nothing: it was all there is to do (--help), or wrong; `status` is how the program ends.
std::optional<CommandLine> parse_command_line(int argc, char** argv, int& status);

}  // namespace lagan::cluster
