// SPDX-License-Identifier: BSD-3-Clause
#include <fmt/format.h>

#include "client/commands/commands.h"
#include "client/commands/moves.h"
#include "client/commands/report.h"

namespace lagan::client::commands {

using nlohmann::json;

namespace {

int list_failovers(Server& server, const Options& options) {
    json failovers = server.list("/v1/failovers", "failovers");
    json chosen = json::array();
    for (json& failover : failovers.at("failovers"))
        if (options.region.empty() || failover.at("region") == options.region)
            chosen.push_back(std::move(failover));
    failovers["failovers"] = chosen;
    if (options.json)
        print_json(failovers);
    else
        print_moves(chosen);
    return kDone;
}

int show_failover(Server& server, const Options& options) {
    const json failover = server.get(path_of("failovers", options.id));
    if (options.json) {
        print_json(failover);
        return kDone;
    }
    print_fields(failover);
    const json& times = failover.at("times");
    Rows rows;
    for (const json& time : times)
        rows.push_back({word(time, "step"), time_ms(time, "ms"),
                        fmt::format("{}", number(time, "ms") - number(times.front(), "ms"))});
    fmt::print("\n{}", table_text({"STEP", "AT (UTC)", "MS"}, rows));
    if (failover.at("progress").is_object()) {
        fmt::print("\n");
        print_fields(failover.at("progress"));
    }
    return kDone;
}

int start_failover(Server& server, const Options& options) {
    json request{{"region", options.region}};
    if (!options.target.empty()) request["target"] = options.target;
    if (!options.reason.empty()) request["reason"] = options.reason;
    return finish_move(server, options, server.create("/v1/failovers", request, options.key),
                       "failover of " + options.region);
}

constexpr const char* kExamples = R"(Examples:
  lagan failover list --region db
  lagan failover show 00000192-5b0c-8d7e
  lagan failover start db --to b       gives its home up, though nothing is wrong with it
  lagan failover test --interface eth1 --local-address 10.79.0.9/24)";

}  // namespace

void add_failover_commands(CLI::App& app, Builder& builder) {
    Options& options = builder.options();
    CLI::App* failover = builder.group(app, "failover", "Failovers, moves and drills", kExamples);
    builder.add(*failover, "list", "All, those that ended too", Asks::manager, list_failovers)
        ->add_option("--region", options.region, "Only those of this region")
        ->option_text("REGION");
    builder.add(*failover, "show", "One, with its steps and their times", Asks::manager, show_failover)
        ->add_option("id", options.id, "Its ID")
        ->required()
        ->option_text("FAILOVER");
    CLI::App* start =
        builder.add(*failover, "start", "A drill: a region's home is given up, though nothing is wrong",
                    Asks::manager, start_failover);
    builder.region(start);
    builder.to(start, "Where to (default: where most memory is unclaimed)");
    start->add_option("--reason", options.reason, "For the record")->option_text("TEXT");
    builder.wait(start);
    builder.key(start);
}

}  // namespace lagan::client::commands
