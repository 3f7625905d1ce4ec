// SPDX-License-Identifier: BSD-3-Clause
// lagand's command line.
#pragma once

#include <optional>
#include <string>

#include "appliance/config_arguments.h"

namespace lagan::appliance {

struct CommandLine : ConfigArguments {
    bool empty_arena = false;
    std::string rescue;  // the directory of a dead instance's arena; empty: none
};

// Nothing when all is done already (--help, --version, or an error that was printed): exit with `status`
// then.
std::optional<CommandLine> parse_command_line(int argc, char** argv, int& status);

}  // namespace lagan::appliance
