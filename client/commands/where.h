// SPDX-License-Identifier: BSD-3-Clause
// Whom to ask when the command line does not say it: environment, then a file.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "client/commands/server.h"

namespace lagan::client::commands {

// The value of an environment variable, or null.
using Environment = std::function<const char*(const char*)>;

// LAGAN_CONFIG, else lagan/config.toml in XDG_CONFIG_HOME or ~/.config; empty: there is no place for one.
std::filesystem::path config_path(const Environment& environment);

// What is empty in `given` comes from LAGAN_MANAGER (several: separated by commas), LAGAN_TOKEN_FILE and
// LAGAN_CA, else from the file's keys manager, token_file and ca. An appliance that was given is left alone;
// if nothing says otherwise, it is this machine's. Throws std::invalid_argument that names the file.
Where complete_where(Where given, const Environment& environment);

}  // namespace lagan::client::commands
