// SPDX-License-Identifier: BSD-3-Clause
#include "client/commands/cuts.h"

#include <fmt/format.h>

#include <array>

#include "client/commands/report.h"
#include "client/commands/wait.h"

namespace lagan::client::commands {

using nlohmann::json;

namespace {

constexpr std::array<Column, 7> kCutColumns{{{"MANIFEST", "manifest"},
                                             {"CUT", "cut_number"},
                                             {"TIME (UTC)", "cut_time_us", time_us},
                                             {"EPOCH", "epoch"},
                                             {"PAGES", "data_pages"},
                                             {"STORED", "stored_bytes", bytes},
                                             {"PROBLEM", "problem"}}};

}  // namespace

Seen look_at_copying(const json& status) {
    const std::string state = word(status, "state");
    const uint64_t done = number(status, "pages_done"), all = number(status, "pages");
    return {.ended = state != "running" && state != "waiting",
            .step = state,
            .done = done,
            .all = state == "running" ? all : 0,
            .more = state == "running" ? fmt::format("{} of {} pages", done, all) : std::string()};
}

void print_cuts(const json& cuts) {
    print_rows(kCutColumns, cuts);
}

int finish_copying(Server& server, const Options& options, const json& begun, const std::string& target,
                   const std::string& what, const char* bytes_key) {
    const json status =
        options.no_wait ? begun : wait_for_end(server, options, target, what, look_at_copying);
    const std::string state = word(status, "state");
    if (options.json) {
        print_json(status);
    } else if (state == "failed") {
        fmt::print(stderr, "lagan: {} has failed: {}\n", what, or_dash(status.at("problem")));
    } else if (state == "done") {
        fmt::print("{}: cut {} of {} UTC, {} pages, {}\n", what, number(status, "cut_number"),
                   time_us(status, "cut_time_us"), number(status, "pages_done"), bytes(status, bytes_key));
        if (status.value("damaged_pages", uint64_t{0}) != 0)
            fmt::print("{} pages were damaged when they were stored: reads of these are refused\n",
                       number(status, "damaged_pages"));
    } else if (options.no_wait) {
        fmt::print("{} is {}\n", what, state);
    } else {
        fmt::print(stderr, "lagan: {} is gone: its appliance was started again, or the region has moved\n",
                   what);
    }
    return state == "done" || (options.no_wait && state != "failed") ? kDone : kFailed;
}

}  // namespace lagan::client::commands
