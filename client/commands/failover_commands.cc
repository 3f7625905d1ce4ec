// SPDX-License-Identifier: BSD-3-Clause
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <map>

#include "client/commands/commands.h"
#include "client/commands/drill.h"
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

int cancel_failover(Server& server, const Options& options) {
    const json failover = server.del(path_of("failovers", options.id));
    if (options.json)
        print_json(failover);
    else
        fmt::print("asked for: lagan failover show {} tells whether it still could\n", options.id);
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

constexpr const char* kDrillFooter =
    R"(Makes a region, fills it, writes a checkpoint, gives its home up, looks whether all is there at the next one,
and deletes it. No other region is touched. With a way to the appliances, a client stores known pages first, goes
on reading and storing all the while, and reads everything back.

  lagan failover test --interface eth1 --local-address 10.79.0.9/24
  lagan failover test --fabric verbs --size 1GiB --from a --to b --json

Exit status: 0 passed, 1 not, 3 no manager answers, 4 the token may not do this, 130 Ctrl-C; the region is deleted
in any case.)";

void add_drill(CLI::App& failover, Builder& builder) {
    static const std::map<std::string, FabricKind> kFabrics = {{"dpdk", FabricKind::dpdk},
                                                               {"verbs", FabricKind::verbs}};
    Options& options = builder.options();
    CLI::App* test =
        builder.add(failover, "test", "A drill with a region of its own, and how long each step takes",
                    Asks::manager, run_drill);
    test->add_option("--size", options.size, "Of the region")
        ->default_str("16MiB")
        ->option_text("SIZE [16MiB]");
    test->add_option("--from", options.node, "Its first home (default: where most memory is unclaimed)")
        ->option_text("NODE");
    builder.to(test, "Its second one (default: where most memory is unclaimed)");
    test->add_option("--fabric", options.way.fabric, "How a client gets to the appliances")
        ->transform(CLI::CheckedTransformer(kFabrics))
        ->option_text("{dpdk,verbs} [dpdk]");
    auto* interface = test->add_option("--interface", options.way.own_port.interface,
                                       "dpdk: the network interface that leads to them")
                          ->option_text("NAME");
    auto* address = test->add_option("--local-address", options.way.own_port.address,
                                     "dpdk: an address there that nobody has, not the kernel either")
                        ->option_text("ADDRESS/LENGTH")
                        ->needs(interface);
    interface->needs(address);
    test->footer(kDrillFooter);
}

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
    builder
        .add(*failover, "cancel", "End a move or a drill, before its source is fenced", Asks::manager,
             cancel_failover)
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
    add_drill(*failover, builder);
}

}  // namespace lagan::client::commands
