// SPDX-License-Identifier: BSD-3-Clause
// The [[port]] tables of the configuration, and the checks that other sections share with them.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "appliance/options.h"
#include "appliance/toml_reader.h"

namespace lagan::appliance {

// Checks one [[port]] on its own and against those already in `ports`, and appends it. Throws OptionError.
void read_port(const toml::table& table, std::vector<PortOptions>& ports);

// 1 to 63 of A-Z a-z 0-9 . _ -, starting with a letter or a digit.
std::optional<std::string> read_name(TomlReader& reader, std::string_view key);

// Absolute, and free of what separates device arguments.
std::optional<std::filesystem::path> read_absolute_path(TomlReader& reader, std::string_view key);

// The same, and short enough for a unix socket.
std::optional<std::filesystem::path> read_socket_path(TomlReader& reader, std::string_view key);

}  // namespace lagan::appliance
