// SPDX-License-Identifier: BSD-3-Clause
#include "client/node/commands.h"

#include <fmt/format.h>

#include <chrono>
#include <stdexcept>
#include <thread>

#include "client/connect.h"
#include "client/node/report.h"
#include "client/node_client.h"

namespace lagan::client::node {

using nlohmann::json;
using namespace std::chrono_literals;

namespace {

constexpr auto kAskEvery = 100ms;

// The appliance's answer was no; what() is its own words.
struct Refused : std::runtime_error {
    using std::runtime_error::runtime_error;
};

json checked(const NodeReply& reply) {
    if (!reply.ok()) throw Refused(reply.error());
    return reply.body;
}

uint64_t number(const json& object, const char* key) {
    return object.at(key).get<uint64_t>();
}

std::string word(const json& object, const char* key) {
    return object.at(key).get<std::string>();
}

NodeClient connect(const NodeOptions& options) {
    return NodeClient(options.appliance.empty() ? kDefaultAppliance : options.appliance);
}

void print_json(const json& value) {
    fmt::print("{}\n", value.dump(2));
}

// Asks until the state is none of those that pass; shows how far it is.
json wait_for_end(const NodeClient& client, const std::string& target, const std::string& what,
                  const char* bytes_key) {
    ProgressLine progress(what);
    for (;;) {
        const json status = checked(client.get(target));
        const std::string state = word(status, "state");
        if (state != "running" && state != "waiting") return status;
        if (state == "running")
            progress.show(number(status, "pages_done"), number(status, "pages"), number(status, bytes_key));
        std::this_thread::sleep_for(kAskEvery);
    }
}

// Of a checkpoint or a restore, when it has ended (or, --no-wait, begun).
int tell_end(const NodeOptions& options, const json& status, const std::string& what, const char* bytes_key) {
    if (options.json) {
        print_json(status);
    } else if (word(status, "state") == "failed") {
        fmt::print(stderr, "lagan: {} has failed: {}\n", what, or_dash(status.at("problem")));
    } else if (word(status, "state") == "done") {
        fmt::print("{}: cut {} of {} UTC, {} pages, {}\n", what, number(status, "cut_number"),
                   time_text(number(status, "cut_time_us")), number(status, "pages_done"),
                   size_text(number(status, bytes_key)));
        if (status.value("damaged_pages", uint64_t{0}) != 0)
            fmt::print("{} pages were damaged when they were stored: reads of these are refused\n",
                       number(status, "damaged_pages"));
    } else {
        fmt::print("{} is {}\n", what, word(status, "state"));
    }
    return word(status, "state") == "failed" ? kFailed : kDone;
}

int cancel_checkpoint(const NodeOptions& options) {
    checked(connect(options).del("/v1/regions/" + options.region + "/checkpoint"));
    return kDone;
}

int checkpoint(const NodeOptions& options) {
    if (options.cancel) return cancel_checkpoint(options);
    const NodeClient client = connect(options);
    const std::string target = "/v1/regions/" + options.region + "/checkpoint";
    const std::string what = "checkpoint of " + options.region;
    json status = checked(client.post(target, json()));
    if (!options.no_wait) status = wait_for_end(client, target, what, "bytes_written");
    return tell_end(options, status, what, "bytes_written");
}

int restore(const NodeOptions& options) {
    const NodeClient client = connect(options);
    json request{{"region", options.region}, {"overcommit", options.overcommit}};
    if (options.manifest != 0) request["manifest"] = options.manifest;
    if (!options.reserve.empty()) request["reserve"] = options.reserve;
    const std::string what = "restore of " + options.region;
    json status = checked(client.post("/v1/restores", request));
    if (!options.no_wait) status = wait_for_end(client, "/v1/restores/" + options.region, what, "bytes_read");
    return tell_end(options, status, what, "bytes_read");
}

void print_regions(const json& regions) {
    std::vector<std::vector<std::string>> rows;
    for (const json& region : regions)
        rows.push_back({word(region, "name"), word(region, "state"), size_text(number(region, "size_bytes")),
                        size_text(number(region, "present_pages") * number(region, "page_bytes")),
                        fmt::format("{}", number(region, "dirty_pages")),
                        fmt::format("{}", number(region, "damaged_pages")),
                        fmt::format("{}", number(region, "durable_cut")),
                        fmt::format("{}", number(region, "connections"))});
    print_table(
        {"REGION", "STATE", "SIZE", "PRESENT", "DIRTY PAGES", "DAMAGED", "DURABLE CUT", "CONNECTIONS"}, rows);
}

int list_regions(const NodeOptions& options) {
    const json regions = checked(connect(options).get("/v1/regions"));
    if (options.json) {
        print_json(regions);
    } else {
        print_regions(regions.at("regions"));
    }
    return kDone;
}

int create_region(const NodeOptions& options) {
    json request{{"name", options.region}, {"size", options.size}, {"overcommit", options.overcommit}};
    if (!options.reserve.empty()) request["reserve"] = options.reserve;
    const json region = checked(connect(options).post("/v1/regions", request));
    if (options.json) {
        print_json(region);
    } else {
        print_regions(json::array({region}));
    }
    return kDone;
}

int delete_region(const NodeOptions& options) {
    checked(connect(options).del("/v1/regions/" + options.region));
    return kDone;
}

int show_baseline(const NodeOptions& options) {
    const json baseline = checked(connect(options).get("/v1/baselines/" + options.region));
    if (options.json) {
        print_json(baseline);
        return kDone;
    }
    std::vector<std::vector<std::string>> rows;
    for (const json& cut : baseline.at("cuts"))
        rows.push_back({fmt::format("{}", number(cut, "manifest")),
                        fmt::format("{}", number(cut, "cut_number")), time_text(number(cut, "cut_time_us")),
                        fmt::format("{}", number(cut, "epoch")), fmt::format("{}", number(cut, "data_pages")),
                        size_text(number(cut, "stored_bytes")), or_dash(cut.at("problem"))});
    print_table({"MANIFEST", "CUT", "TIME (UTC)", "EPOCH", "PAGES", "STORED", "PROBLEM"}, rows);
    return kDone;
}

int list_baselines(const NodeOptions& options) {
    if (!options.region.empty()) return show_baseline(options);
    const json baselines = checked(connect(options).get("/v1/baselines"));
    if (options.json) {
        print_json(baselines);
    } else {
        for (const json& name : baselines.at("baselines"))
            fmt::print("{}\n", name.get<std::string>());
    }
    return kDone;
}

int list_events(const NodeOptions& options) {
    const json events = checked(connect(options).get(fmt::format("/v1/events?after={}", options.after)));
    if (options.json) {
        print_json(events);
        return kDone;
    }
    for (const json& event : events.at("events"))
        fmt::print("{:>6}  {}  {:<7}  {}  {}\n", number(event, "number"),
                   time_text(number(event, "time_ms") * 1000), word(event, "severity"),
                   or_dash(event.at("region")), word(event, "text"));
    return kDone;
}

// Errors become a line and a status.
int run(const NodeOptions& options, int (*command)(const NodeOptions&)) {
    try {
        return command(options);
    } catch (const Refused& refused) {
        fmt::print(stderr, "lagan: {}\n", refused.what());
        return kFailed;
    } catch (const std::exception& error) {
        fmt::print(stderr, "lagan: {}\n", error.what());
        return kUnreachable;
    }
}

class Builder {
  public:
    Builder(NodeOptions& options, std::function<int()>& chosen) : options_(options), chosen_(chosen) {}

    CLI::App* add(CLI::App& parent, const char* name, const char* about, int (*command)(const NodeOptions&)) {
        CLI::App* app = parent.add_subcommand(name, about);
        app->add_option("--appliance", options_.appliance, "The node API's socket of the appliance")
            ->default_str(kDefaultAppliance);
        app->add_flag("--json", options_.json, "Print what the node API answers");
        app->callback([&options = options_, &chosen = chosen_, command] {
            chosen = [&options, command] { return run(options, command); };
        });
        return app;
    }
    void region(CLI::App* app, bool required = true) {
        app->add_option("region", options_.region, "The region's name")->required(required);
    }
    void no_wait(CLI::App* app) { app->add_flag("--no-wait", options_.no_wait, "Do not wait for its end"); }
    void room(CLI::App* app) {
        app->add_option("--reserve", options_.reserve, "Memory that is kept for it (default: its size)");
        app->add_flag("--overcommit", options_.overcommit, "The reserve may be smaller than the size");
    }

  private:
    NodeOptions& options_;
    std::function<int()>& chosen_;
};

constexpr const char* kCheckpointExamples = R"(Examples:
  lagan checkpoint db                  writes what has changed to the baseline, and waits
  lagan checkpoint db --no-wait; lagan region list
  lagan checkpoint db --cancel

Exit status: 0 it is durable, 1 it failed, or the appliance refuses, 3 no appliance answers.)";

constexpr const char* kRegionExamples = R"(Examples:
  lagan region list
  lagan region create db --size 64GiB
  lagan region restore db              from its newest checkpoint; lagan baseline db lists them
  lagan region restore db --manifest 41 --json
  lagan region delete db               its baseline stays)";

}  // namespace

void add_commands(CLI::App& app, NodeOptions& options, std::function<int()>& chosen) {
    Builder builder(options, chosen);
    CLI::App* checkpoint_app =
        builder.add(app, "checkpoint", "Write what has changed of a region to its baseline", checkpoint);
    builder.region(checkpoint_app);
    builder.no_wait(checkpoint_app);
    checkpoint_app->footer(kCheckpointExamples);
    checkpoint_app->add_flag("--cancel", options.cancel, "Cancel the one that is under way");

    CLI::App* region = app.add_subcommand("region", "Look after an appliance's regions");
    region->require_subcommand(1);
    region->footer(kRegionExamples);
    builder.add(*region, "list", "All regions", list_regions);
    CLI::App* create = builder.add(*region, "create", "Make a region", create_region);
    builder.region(create);
    create->add_option("--size", options.size, "Its size: 64GiB")->required();
    builder.room(create);
    builder.region(
        builder.add(*region, "delete", "Delete a region; its connections are closed", delete_region));
    CLI::App* restore_app = builder.add(*region, "restore", "Make a region from its baseline", restore);
    builder.region(restore_app);
    restore_app->add_option("--manifest", options.manifest, "Which cut (default: the newest)")
        ->check(CLI::PositiveNumber);
    builder.room(restore_app);
    builder.no_wait(restore_app);

    builder.region(
        builder.add(app, "baseline", "List the baselines in the store, or one's cuts", list_baselines),
        false);
    builder.add(app, "events", "What happened that an operator should know of", list_events)
        ->add_option("--after", options.after, "Only those with a higher number");
}

}  // namespace lagan::client::node
