// SPDX-License-Identifier: BSD-3-Clause
#include "appliance/command_line.h"

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
    line.config = "/etc/lagan/lagand.toml";
    CLI::App app("lagand: serves this machine's memory to compute hosts over RoCEv2.", "lagand");
    app.footer(kExamples);
    add_config_arguments(app, line);
    auto* empty = app.add_flag("--empty-arena", line.empty_arena,
                               "begin without regions: those that the arena holds are given up");
    app.add_option("--rescue", line.rescue,
                   "serve the arena of a dead lagand to be read, for recovery only; nothing in it changes")
        ->type_name("DIRECTORY")
        ->excludes(empty);
    if (!parse(app, argc, argv, status)) return std::nullopt;
    return line;
}

}  // namespace lagan::appliance
