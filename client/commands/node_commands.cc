// SPDX-License-Identifier: BSD-3-Clause
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <array>

#include "client/commands/commands.h"
#include "client/commands/moves.h"
#include "client/commands/report.h"

namespace lagan::client::commands {

using nlohmann::json;

namespace {

constexpr std::array<Column, 9> kColumns{{{"NODE", "name"},
                                          {"HEALTH", "health"},
                                          {"MODE", "mode"},
                                          {"TAKES REGIONS", "enabled"},
                                          {"MEMORY", "total_bytes", bytes},
                                          {"UNCLAIMED", "unclaimed_bytes", bytes},
                                          {"ADDRESS", "address"},
                                          {"API", "api"},
                                          {"PROBLEM", "problem"}}};

std::string place(const Options& options, const std::string& behind = {}) {
    return path_of("nodes", options.node, behind);
}

int show_one(const Options& options, const json& node) {
    if (options.json)
        print_json(node);
    else
        print_rows(kColumns, json::array({node}));
    return kDone;
}

int list_nodes(Server& server, const Options& options) {
    const json nodes = server.list("/v1/nodes", "nodes");
    if (options.json)
        print_json(nodes);
    else
        print_rows(kColumns, nodes.at("nodes"));
    return kDone;
}

int show_node(Server& server, const Options& options) {
    const json node = server.get(place(options));
    if (options.json) {
        print_json(node);
        return kDone;
    }
    print_fields(node);
    const json regions = server.list("/v1/regions", "regions");
    for (const json& region : regions.at("regions"))
        if (region.at("node") == options.node)
            fmt::print("region  {}: {}, {}\n", word(region, "name"), word(region, "state"),
                       size_text(number(region, "size_bytes")));
    return kDone;
}

int add_node(Server& server, const Options& options) {
    json body{{"name", options.node}, {"api", options.api}};
    if (!options.address.empty()) body["address"] = options.address;
    if (options.port != 0) body["port"] = options.port;
    return show_one(options, server.create("/v1/nodes", body, options.key));
}

int remove_node(Server& server, const Options& options) {
    server.del(place(options) + (options.force ? "?force=true" : ""));
    return kDone;
}

int enable_node(Server& server, const Options& options) {
    return show_one(options, server.patch(place(options), {{"enabled", true}}));
}

// All moves have begun; they go on at the same time.
int drain_node(Server& server, const Options& options) {
    json drain = server.create(place(options, "/drain"), json::object(), options.key);
    json moves = json::array();
    bool good = drain.at("busy").empty();
    for (const json& move : drain.at("moves")) {
        const std::string id = word(move, "id");
        const json failover =
            options.no_wait
                ? server.get(path_of("failovers", id))
                : wait_for_move(server, options, id,
                                fmt::format("drain of {} ({} of {}): {}", options.node, moves.size() + 1,
                                            drain.at("moves").size(), word(move, "region")));
        good = good && (options.no_wait || failover.at("step") == "done");
        moves.push_back(failover);
    }
    if (options.json) {
        print_json({{"node", options.node}, {"moves", moves}, {"busy", drain.at("busy")}});
        return good ? kDone : kFailed;
    }
    if (!moves.empty()) print_moves(moves);
    for (const json& region : drain.at("busy"))
        fmt::print(stderr, "lagan: region {} has something else under way: it goes when that has ended\n",
                   region.get<std::string>());
    if (good && moves.empty()) fmt::print("{} has no regions, and gets none\n", options.node);
    return good ? kDone : kFailed;
}

constexpr const char* kExamples = R"(Examples:
  lagan node add a --api /run/lagan/a.sock
  lagan node add b --api https://b.far:7470 --address 10.79.0.2
  lagan node list
  lagan node drain a && lagan node remove a
  lagan node enable a                  after a drain: it may get regions again)";

constexpr const char* kDrainFooter =
    R"(Its regions go to other nodes, live, and it gets no new ones until `lagan node enable`.

Exit status: 0 it has none any more, 1 a region stays there, 3 no manager answers, 4 the token may not do this,
5 --timeout is over and it goes on.)";

}  // namespace

void add_node_commands(CLI::App& app, Builder& builder) {
    CLI::App* node = builder.group(app, "node", "Look after the appliances that a manager knows", kExamples);
    builder.add(*node, "list", "All nodes", Asks::manager, list_nodes);
    builder.node(builder.add(*node, "show", "One node, and its regions", Asks::manager, show_node));

    Options& options = builder.options();
    CLI::App* add = builder.add(*node, "add", "Register an appliance", Asks::manager, add_node);
    add->add_option("node", options.node, "Its name, as its configuration says it")
        ->required()
        ->option_text("NAME");
    add->add_option("--api", options.api, "Its node API: a unix socket's path, or https://HOST:PORT")
        ->required()
        ->option_text("API");
    add->add_option("--address", options.address, "Of its RDMA port (default: the first that it has)")
        ->option_text("ADDRESS");
    add->add_option("--port", options.port, "Of its RDMA service")->option_text("PORT");
    builder.key(add);

    CLI::App* remove =
        builder.add(*node, "remove", "Forget a node that has no regions", Asks::manager, remove_node);
    builder.node(remove);
    remove->add_flag("--force", options.force,
                     "Also when regions are to be deleted there, which are forgotten with it (admins)");
    CLI::App* drain =
        builder.add(*node, "drain", "Move all regions of a node elsewhere", Asks::manager, drain_node);
    builder.node(drain);
    builder.wait(drain);
    builder.key(drain);
    drain->footer(kDrainFooter);
    builder.node(builder.add(*node, "enable", "Let a node have regions again", Asks::manager, enable_node));
}

}  // namespace lagan::client::commands
