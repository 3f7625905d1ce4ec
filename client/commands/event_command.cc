// SPDX-License-Identifier: BSD-3-Clause
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <thread>

#include "client/commands/commands.h"
#include "client/commands/report.h"

namespace lagan::client::commands {

using nlohmann::json;
using namespace std::chrono_literals;

namespace {

constexpr uint64_t kLastWhenFollowing = 10;
constexpr auto kAskEvery = 500ms;  // of an appliance, which has no stream of events

bool wanted(const Options& options, const json& event) {
    return options.region.empty() || event.at("region") == options.region;
}

void print_event(const Options& options, const json& event) {
    if (!wanted(options, event)) return;
    if (options.json) return print_json_line(event);
    fmt::print("{:>6}  {}  {:<7}  {}{}  {}\n", number(event, "number"), time_ms(event, "time_ms"),
               word(event, "severity"), event.contains("node") ? or_dash(event.at("node")) + "  " : "",
               or_dash(event.at("region")), word(event, "text"));
    std::fflush(stdout);
}

// The newest ones of those that are wanted; 0: all.
json newest(const json& events, const Options& options, uint64_t count) {
    json chosen = json::array();
    for (const json& event : events)
        if (wanted(options, event)) chosen.push_back(event);
    if (count != 0 && chosen.size() > count)
        chosen.erase(chosen.begin(), chosen.end() - static_cast<ptrdiff_t>(count));
    return chosen;
}

[[noreturn]] void ask_again_and_again(Server& server, const Options& options, uint64_t after) {
    for (;; std::this_thread::sleep_for(kAskEvery)) {
        const json events = server.get(fmt::format("/v1/events?after={}", after));
        for (const json& event : events.at("events")) {
            print_event(options, event);
            after = number(event, "number");
        }
    }
}

int list_events(Server& server, const Options& options) {
    json events = server.list(fmt::format("/v1/events?after={}", options.after), "events");
    uint64_t after = options.after;
    if (!events.at("events").empty()) after = number(events.at("events").back(), "number");
    const bool only_new = options.follow && options.last == 0 && options.after == 0;
    json chosen = newest(events.at("events"), options, only_new ? kLastWhenFollowing : options.last);
    if (options.json && !options.follow) {
        events["events"] = std::move(chosen);
        print_json(events);
        return kDone;
    }
    for (const json& event : chosen)
        print_event(options, event);
    if (!options.follow) return kDone;
    if (!server.is_manager()) ask_again_and_again(server, options, after);
    server.follow_events(after, [&](const json& event) {
        print_event(options, event);
        return true;
    });
    return kDone;
}

constexpr const char* kExamples = R"(Examples:
  lagan events --last 20
  lagan events --follow                as they happen, until Ctrl-C
  lagan events --follow --json | jq 'select(.severity == "alarm")'
  lagan events --appliance /run/lagan/a.sock)";

}  // namespace

void add_event_command(CLI::App& app, Builder& builder) {
    Options& options = builder.options();
    CLI::App* events = builder.add(app, "events", "What happened that an operator should know of",
                                   Asks::either, list_events);
    events->add_option("--after", options.after, "Only those with a higher number")->option_text("NUMBER");
    events->add_option("--last", options.last, "Only so many, the newest ones")
        ->check(CLI::PositiveNumber)
        ->option_text("COUNT");
    events->add_option("--region", options.region, "Only those of this region")->option_text("REGION");
    events->add_flag("--follow,-f", options.follow,
                     "Go on with those to come; with --json, each is a line of its own");
    events->footer(kExamples);
}

}  // namespace lagan::client::commands
