// SPDX-License-Identifier: BSD-3-Clause
#include <CLI/CLI.hpp>
#include <array>

#include "client/commands/commands.h"
#include "client/commands/cuts.h"
#include "client/commands/report.h"

namespace lagan::client::commands {

using nlohmann::json;

namespace {

constexpr std::array<Column, 8> kColumns{{{"REGION", "region"},
                                          {"STATE", "state"},
                                          {"LAST CUT", "cut_number"},
                                          {"TIME (UTC)", "cut_time_us", time_us},
                                          {"PAGES", "pages"},
                                          {"DONE", "pages_done"},
                                          {"WRITTEN", "bytes_written", bytes},
                                          {"PROBLEM", "problem"}}};

std::string place(const std::string& region) {
    return path_of("regions", region, "/checkpoint");
}

int create_checkpoint(Server& server, const Options& options) {
    if (options.region.empty()) throw std::invalid_argument("which region? lagan checkpoint REGION");
    if (options.cancel) {
        server.del(place(options.region));
        return kDone;
    }
    return finish_copying(server, options, server.create(place(options.region), nullptr, options.key),
                          place(options.region), "checkpoint of " + options.region, "bytes_written");
}

int cancel_checkpoint(Server& server, const Options& options) {
    server.del(place(options.region));
    return kDone;
}

int list_cuts(Server& server, const Options& options) {
    const json baseline = server.get(server.is_manager() ? path_of("regions", options.region, "/checkpoints")
                                                         : path_of("baselines", options.region));
    if (options.json)
        print_json(baseline);
    else
        print_cuts(baseline.at("cuts"));
    return kDone;
}

// One region that cannot tell is no reason not to show the others.
json last_checkpoint(Server& server, const std::string& region) {
    try {
        json status = server.get(place(region));
        status["region"] = region;
        return status;
    } catch (const Refused& refused) {
        return {{"region", region}, {"state", "unknown"}, {"cut_number", 0},    {"cut_time_us", 0},
                {"pages", 0},       {"pages_done", 0},    {"bytes_written", 0}, {"problem", refused.what()}};
    }
}

int list_checkpoints(Server& server, const Options& options) {
    if (!options.region.empty()) return list_cuts(server, options);
    json all = json::array();
    const json regions = server.list("/v1/regions", "regions");
    for (const json& region : regions.at("regions"))
        all.push_back(last_checkpoint(server, word(region, "name")));
    if (options.json)
        print_json({{"checkpoints", all}});
    else
        print_rows(kColumns, all);
    return kDone;
}

constexpr const char* kExamples = R"(Examples:
  lagan checkpoint create db           writes what has changed to the baseline, and waits
  lagan checkpoint db                  the same
  lagan checkpoint db --no-wait; lagan checkpoint list
  lagan checkpoint list db             the cuts in its baseline
  lagan checkpoint cancel db

Exit status: 0 it is durable, 1 it failed, or the answer is no, 3 nobody answers, 4 the token may not do this,
5 --timeout is over and it goes on.)";

void add_creation(CLI::App& app, Builder& builder) {
    builder.wait(&app);
    builder.key(&app);
}

}  // namespace

void add_checkpoint_commands(CLI::App& app, Builder& builder) {
    CLI::App* checkpoint =
        builder.add(app, "checkpoint", "Write what has changed of a region to its baseline", Asks::either,
                    create_checkpoint);
    checkpoint->footer(kExamples);
    builder.region(checkpoint, false);
    add_creation(*checkpoint, builder);
    checkpoint->add_flag("--cancel", builder.options().cancel, "Cancel the one that is under way");

    CLI::App* create =
        builder.add(*checkpoint, "create", "The same as without this word", Asks::either, create_checkpoint);
    builder.region(create);
    add_creation(*create, builder);
    builder.region(builder.add(*checkpoint, "list", "The last one of each region, or the cuts of one region",
                               Asks::either, list_checkpoints),
                   false);
    builder.region(builder.add(*checkpoint, "cancel", "Cancel the one that is under way", Asks::either,
                               cancel_checkpoint));
}

}  // namespace lagan::client::commands
