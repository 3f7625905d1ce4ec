// SPDX-License-Identifier: BSD-3-Clause
#include "client/commands/moves.h"

#include <fmt/format.h>

#include <array>

#include "client/commands/report.h"
#include "client/commands/wait.h"

namespace lagan::client::commands {

using nlohmann::json;

namespace {

std::string began(const json& failover, const char*) {
    const json& times = failover.at("times");
    return times.empty() ? "-" : time_ms(times.front(), "ms");
}

std::string took(const json& failover, const char*) {
    return failover.at("ended").get<bool>() ? fmt::format("{} ms", took_ms(failover)) : "-";
}

constexpr std::array<Column, 9> kColumns{{{"ID", "id"},
                                          {"REGION", "region"},
                                          {"KIND", "kind"},
                                          {"STEP", "step"},
                                          {"FROM", "source"},
                                          {"TO", "target"},
                                          {"BEGAN (UTC)", "times", began},
                                          {"TOOK", "times", took},
                                          {"PROBLEM", "problem"}}};

}  // namespace

// The target tells of pages while it is filled.
Seen look_at_move(const json& failover) {
    Seen seen{.ended = failover.at("ended"), .step = word(failover, "step")};
    const json& progress = failover.at("progress");
    if (progress.is_object()) {
        seen.done =
            progress.value("pages_pulled", uint64_t{0}) + progress.value("pages_from_baseline", uint64_t{0});
        seen.all = seen.done + progress.value("pages_pending", uint64_t{0});
        seen.more = fmt::format("{} of {} pages, {}/s", seen.done, seen.all,
                                size_text(progress.value("bytes_per_s", uint64_t{0})));
    }
    if (failover.at("problem").is_string())
        seen.more += (seen.more.empty() ? "" : ", ") + word(failover, "problem");
    return seen;
}

json wait_for_move(Server& server, const Options& options, const std::string& id, const std::string& what) {
    return wait_for_end(server, options, path_of("failovers", id), what, look_at_move);
}

void print_moves(const json& failovers) {
    print_rows(kColumns, failovers);
}

uint64_t took_ms(const json& failover) {
    const json& times = failover.at("times");
    return times.empty() ? 0 : number(times.back(), "ms") - number(times.front(), "ms");
}

int finish_move(Server& server, const Options& options, const json& begun, const std::string& what) {
    const json failover = options.no_wait ? begun : wait_for_move(server, options, word(begun, "id"), what);
    const std::string step = word(failover, "step");
    const bool good = options.no_wait || step == "done";
    if (options.json) {
        print_json(failover);
    } else if (options.no_wait) {
        fmt::print("{} has begun: lagan failover show {}\n", what, word(failover, "id"));
    } else if (good) {
        fmt::print("{}: from {} to {} in {} ms\n", what, word(failover, "source"), word(failover, "target"),
                   took_ms(failover));
    } else if (step == "rolled_back") {
        fmt::print(
            stderr,
            "lagan: {}: the region is at {} now, rolled back to its last checkpoint: lagan region show "
            "{}\n",
            what, word(failover, "target"), word(failover, "region"));
    } else {
        fmt::print(stderr, "lagan: {} {}: {}\n", what, step == "failed" ? "has failed" : "was " + step,
                   or_dash(failover.at("problem")));
    }
    return good ? kDone : kFailed;
}

}  // namespace lagan::client::commands
