// SPDX-License-Identifier: BSD-3-Clause
#include "appliance/command_line.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

namespace lagan::appliance {

namespace {

constexpr const char* kExamples = R"(Examples:
  lagand                                        with /etc/lagan/lagand.toml
  lagand --config demo.toml --check-config      only look the configuration over
  lagand --config demo.toml --set memory.size=4GiB --set port.local0.mtu=1500
  lagand --config demo.toml --empty-arena       give up the regions of an arena that cannot be opened
  lagand --config demo.toml --rescue /dev/shm/lagan-appliance

Regions are kept when lagand ends, in whatever way; the next lagand serves them again. SIGTERM and SIGINT close all connections and end it with status 0. Status 1: it could not start or go on; 2: the
configuration is wrong. The configuration's keys are explained in config/lagand.toml.)";

}  // namespace

std::optional<CommandLine> parse_command_line(int argc, char** argv, int& status) {
    CommandLine line;
    CLI::App app("lagand: serves this machine's memory to compute hosts over RoCEv2.", "lagand");
    app.footer(kExamples);
    app.set_version_flag("--version", "lagand " LAGAN_VERSION);
    app.add_option("--config", line.config, "the configuration file")
        ->type_name("FILE")
        ->capture_default_str();
    app.add_flag("--check-config", line.check_config, "say whether the configuration is good, and end");
    auto* empty = app.add_flag("--empty-arena", line.empty_arena,
                               "begin without regions: those that the arena holds are given up");
    app.add_option("--rescue", line.rescue,
                   "serve the arena of a dead lagand to be read, for recovery only; nothing in it changes")
        ->type_name("DIRECTORY")
        ->excludes(empty);
    app.add_option("--set", line.settings, "change one key of the configuration; may be given several times")
        ->type_name("KEY=VALUE")
        ->allow_extra_args(false);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        status = app.exit(error) == 0 ? 0 : 2;
        return std::nullopt;
    }
    return line;
}

}  // namespace lagan::appliance
