// SPDX-License-Identifier: BSD-3-Clause
// --set key=value: changes to the configuration that the command line makes.
#pragma once

#include <toml++/toml.h>

#include <string>
#include <vector>

namespace lagan::appliance {

// Puts each "key=value" into `root`. The value is TOML, or plain text where TOML would want quotes
// (memory.size=1GiB). A key "port.NAME.KEY" changes the [[port]] of that name. Types and known keys are for
// the caller to check. Throws OptionError.
void apply_overrides(toml::table& root, const std::vector<std::string>& settings);

}  // namespace lagan::appliance
