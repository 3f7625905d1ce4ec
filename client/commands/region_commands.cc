// SPDX-License-Identifier: BSD-3-Clause
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <array>

#include "client/commands/commands.h"
#include "client/commands/cuts.h"
#include "client/commands/moves.h"
#include "client/commands/report.h"

namespace lagan::client::commands {

using nlohmann::json;

namespace {

std::string present(const json& region, const char* key) {
    return size_text(number(region, key) * number(region, "page_bytes"));
}

// What managers know, and what appliances know.
constexpr std::array<Column, 12> kColumns{{{"REGION", "name"},
                                           {"NODE", "node"},
                                           {"STATE", "state"},
                                           {"SIZE", "size_bytes", bytes},
                                           {"TENANT", "tenant"},
                                           {"EPOCH", "epoch"},
                                           {"FAILOVER", "failover"},
                                           {"PRESENT", "present_pages", present},
                                           {"DIRTY PAGES", "dirty_pages"},
                                           {"DAMAGED", "damaged_pages"},
                                           {"DURABLE CUT", "durable_cut"},
                                           {"CONNECTIONS", "connections"}}};

std::string place(const Options& options) {
    return path_of("regions", options.region);
}

int show_one(const Options& options, const json& region) {
    if (options.json)
        print_json(region);
    else
        print_rows(kColumns, json::array({region}));
    return kDone;
}

int list_regions(Server& server, const Options& options) {
    const json regions = server.list("/v1/regions", "regions");
    if (options.json)
        print_json(regions);
    else
        print_rows(kColumns, regions.at("regions"));
    return kDone;
}

int show_region(Server& server, const Options& options) {
    const json region = server.get(place(options));
    if (options.json) {
        print_json(region);
        return kDone;
    }
    print_fields(region);
    if (const auto rolled_back = region.find("rolled_back");
        rolled_back != region.end() && rolled_back->is_object())
        fmt::print("rolled back at epoch {} to cut {} of {} UTC: {}\n", number(*rolled_back, "epoch"),
                   number(*rolled_back, "cut_number"), time_us(*rolled_back, "cut_time_us"),
                   word(*rolled_back, "reason"));
    return kDone;
}

int create_region(Server& server, const Options& options) {
    json request{{"name", options.region}, {"size", options.size}, {"overcommit", options.overcommit}};
    if (!options.reserve.empty()) request["reserve"] = options.reserve;
    if (!server.is_manager() && !(options.tenant + options.node).empty())
        throw std::invalid_argument(
            "an appliance makes its own regions, which have no tenant: --tenant and "
            "--node go with --manager");
    if (!options.tenant.empty()) request["tenant"] = options.tenant;
    if (!options.node.empty()) request["node"] = options.node;
    return show_one(options, server.create("/v1/regions", request, options.key));
}

// An appliance does not delete what is a manager's unless it is told which copy.
std::string forced(Server& server, const Options& options) {
    if (server.is_manager()) return "?force=true";
    return fmt::format("?epoch={}", number(server.get(place(options)), "epoch"));
}

int delete_region(Server& server, const Options& options) {
    const json left = server.del(place(options) + (options.force ? forced(server, options) : ""));
    if (left.is_null()) return kDone;
    if (options.json)
        print_json(left);
    else
        fmt::print(stderr, "lagan: {} has not deleted it yet; the manager sees to it that it does\n",
                   word(left, "node"));
    return kDone;
}

int move_region(Server& server, const Options& options) {
    json request{{"region", options.region}};
    if (!options.target.empty()) request["target"] = options.target;
    if (!options.reason.empty()) request["reason"] = options.reason;
    return finish_move(server, options, server.create("/v1/moves", request, options.key),
                       "move of " + options.region);
}

int restore_region(Server& server, const Options& options) {
    json request{{"region", options.region}, {"overcommit", options.overcommit}};
    if (options.manifest != 0) request["manifest"] = options.manifest;
    if (!options.reserve.empty()) request["reserve"] = options.reserve;
    return finish_copying(server, options, server.post("/v1/restores", request),
                          path_of("restores", options.region), "restore of " + options.region, "bytes_read");
}

int list_baselines(Server& server, const Options& options) {
    if (!options.region.empty()) {
        const json baseline = server.get(path_of("baselines", options.region));
        if (options.json)
            print_json(baseline);
        else
            print_cuts(baseline.at("cuts"));
        return kDone;
    }
    const json baselines = server.get("/v1/baselines");
    if (options.json) {
        print_json(baselines);
    } else {
        for (const json& name : baselines.at("baselines"))
            fmt::print("{}\n", name.get<std::string>());
    }
    return kDone;
}

constexpr const char* kExamples = R"(Examples:
  lagan region list                    of a manager, or of this machine's appliance
  lagan region list --appliance /run/lagan/a.sock
  lagan region create db --size 64GiB --tenant red
  lagan region move db --to b          live
  lagan region restore db              from its newest checkpoint; lagan baseline db lists them
  lagan region restore db --manifest 41 --json
  lagan region delete db               its baseline stays)";

constexpr const char* kMoveFooter = R"(Clients go on at the new home; nothing is lost.

Exit status: 0 it has moved, 1 it has not, 3 no manager answers, 4 the token may not do this, 5 --timeout is over
and it goes on.)";

void add_create(CLI::App& region, Builder& builder) {
    Options& options = builder.options();
    CLI::App* create = builder.add(region, "create", "Make a region", Asks::either, create_region);
    create->add_option("region", options.region, "Its name")->required()->option_text("NAME");
    create->add_option("--size", options.size, "Its size: 64GiB")->required()->option_text("SIZE");
    builder.room(create);
    create->add_option("--tenant", options.tenant, "Whose it is (managers)")->option_text("NAME");
    create->add_option("--node", options.node, "Where (managers; default: where most memory is unclaimed)")
        ->option_text("NODE");
    builder.key(create);
}

}  // namespace

void add_region_commands(CLI::App& app, Builder& builder) {
    Options& options = builder.options();
    CLI::App* region =
        builder.group(app, "region", "Look after regions, all of them or an appliance's", kExamples);
    builder.add(*region, "list", "All regions", Asks::either, list_regions);
    builder.region(builder.add(*region, "show", "One region", Asks::either, show_region));
    add_create(*region, builder);
    CLI::App* remove = builder.add(*region, "delete", "Delete a region; its connections are closed",
                                   Asks::either, delete_region);
    builder.region(remove);
    remove->add_flag(
        "--force", options.force,
        "Whatever its node says, and whatever failover is under way: it is lost (admins). With --appliance: "
        "also a copy that is a manager's");
    CLI::App* move =
        builder.add(*region, "move", "Move a region to another node", Asks::manager, move_region);
    builder.region(move);
    builder.to(move, "Where to (default: where most memory is unclaimed)");
    move->add_option("--reason", options.reason, "For the record")->option_text("TEXT");
    builder.wait(move);
    builder.key(move);
    move->footer(kMoveFooter);

    CLI::App* restore = builder.add(*region, "restore", "Make a region at an appliance from its baseline",
                                    Asks::appliance, restore_region);
    builder.region(restore);
    restore->add_option("--manifest", options.manifest, "Which cut (default: the newest)")
        ->check(CLI::PositiveNumber)
        ->option_text("NUMBER");
    builder.room(restore);
    builder.wait(restore);

    builder.region(builder.add(app, "baseline", "List the baselines in an appliance's store, or one's cuts",
                               Asks::appliance, list_baselines),
                   false);
}

}  // namespace lagan::client::commands
