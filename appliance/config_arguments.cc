// SPDX-License-Identifier: BSD-3-Clause
#include "appliance/config_arguments.h"

#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

namespace lagan::appliance {

void add_config_arguments(CLI::App& app, ConfigArguments& arguments) {
    app.set_version_flag("--version", app.get_name() + " " LAGAN_VERSION);
    app.add_option("--config", arguments.config, "the configuration file")
        ->type_name("FILE")
        ->capture_default_str();
    app.add_flag("--check-config", arguments.check_config, "say whether the configuration is good, and end");
    app.add_option("--set", arguments.settings,
                   "change one key of the configuration; may be given several times")
        ->type_name("KEY=VALUE")
        ->allow_extra_args(false);
}

bool parse(CLI::App& app, int argc, char** argv, int& status) {
    try {
        app.parse(argc, argv);
        return true;
    } catch (const CLI::ParseError& error) {
        status = app.exit(error) == 0 ? 0 : 2;
        return false;
    }
}

}  // namespace lagan::appliance
