// SPDX-License-Identifier: BSD-3-Clause
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "client/commands/commands.h"
#include "client/commands/report.h"

namespace lagan::client::commands {

using nlohmann::json;

namespace {

// Whoever reads it may use the region: for the owner alone, also where there was a file before.
void write_secret(const std::string& path, const std::string& text) {
    const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    const bool good = file >= 0 && fchmod(file, 0600) == 0 &&
                      write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size());
    const int error = errno;
    if (file >= 0) close(file);
    if (!good)
        throw std::invalid_argument(fmt::format("{} cannot be written: {}", path, std::strerror(error)));
}

int create_grant(Server& server, const Options& options) {
    json request{{"role", options.role}};
    if (options.ttl_s != 0) request["ttl_seconds"] = options.ttl_s;
    const json grant = server.post(path_of("regions", options.region, "/grants"), request);
    const std::string text = options.json ? grant.dump(2) : word(grant, "grant");
    if (options.output.empty()) {
        fmt::print("{}\n", text);
        return kDone;
    }
    write_secret(options.output, text + "\n");
    fmt::print("{}: for {}, to {}, until {} UTC\n", options.output, options.region, options.role,
               time_text(number(grant, "expires") * 1'000'000));
    return kDone;
}

constexpr const char* kExamples = R"(Examples:
  lagan grant create db --role write --output db.grant
  lagan run --fabric verbs --address 10.79.0.1 --grant db.grant -- PROGRAM
  lagan grant create db --role read --ttl 60 --json

A grant is a secret, and good for the region's present home alone: with --manager, `lagan run` gets its own.)";

}  // namespace

void add_grant_commands(CLI::App& app, Builder& builder) {
    Options& options = builder.options();
    CLI::App* grant = builder.group(app, "grant", "Let somebody use a region", kExamples);
    CLI::App* create = builder.add(*grant, "create", "Make a grant", Asks::either, create_grant);
    builder.region(create);
    create->add_option("--role", options.role, "What it allows; recover: of an appliance alone")
        ->required()
        ->check(CLI::IsMember({"read", "write", "recover"}))
        ->option_text("{read,write,recover}");
    create->add_option("--ttl", options.ttl_s, "How long it is good")
        ->check(CLI::PositiveNumber)
        ->option_text("SECONDS [3600]");
    create->add_option("--output", options.output, "Into this file, which nobody else may read")
        ->option_text("FILE");
}

}  // namespace lagan::client::commands
