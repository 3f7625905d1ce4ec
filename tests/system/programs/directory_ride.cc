// SPDX-License-Identifier: BSD-3-Clause
// A process that works with a directory whatever happens to it: what is unavailable is tried again.
//
//   directory_ride WHERE count N          adds one to the counter by compare-and-swap, N times
//   directory_ride WHERE lead NAME TTL    campaigns, until it is killed
//   directory_ride WHERE fill             puts until there is no space
//
// WHERE: a SQLite file, or etcd's endpoints separated by commas. "count" says "added N" each time; "lead"
// says "leads FROM UNTIL" for each time span, in CLOCK_MONOTONIC nanoseconds, during which it may take itself
// for the leader.
#include <boost/algorithm/string/classification.hpp>
#include <boost/algorithm/string/split.hpp>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>

#include "mgmt/cluster/directory.h"

using namespace lagan::cluster;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

namespace {

long long ns(Clock::time_point time) {
    return std::chrono::nanoseconds(time.time_since_epoch()).count();
}

template <typename Action>
auto insist(const Action& action) {
    for (;;) {
        try {
            return action();
        } catch (const DirectoryError& error) {
            if (error.kind == DirectoryError::Kind::refused || error.kind == DirectoryError::Kind::damaged)
                throw;
            std::printf("waiting: %s\n", error.what());
            std::this_thread::sleep_for(20ms);
        }
    }
}

// Whether a change whose answer was lost was done is seen by who made it: the counter's value names them.
void count(Directory& directory, int times) {
    const std::string self = std::to_string(ns(Clock::now()));
    for (int i = 1; i <= times; ++i) {
        const std::string mark = self + "." + std::to_string(i);
        insist([&] {
            for (;;) {
                const auto entry = directory.get("count");
                const nlohmann::json old =
                    entry ? entry->value : nlohmann::json{{"count", 0}, {"marks", nlohmann::json::object()}};
                if (old["marks"].value(self, 0) == i) return;
                nlohmann::json next = old;
                next["count"] = old["count"].get<int>() + 1;
                next["marks"][self] = i;
                if (directory.put("count", next, entry ? entry->revision : Directory::kAbsent)) return;
            }
        });
        std::printf("added %d\n", i);
    }
    const auto entry = insist([&] { return directory.get("count"); });
    std::printf("count %d\n", entry->value["count"].get<int>());
}

[[noreturn]] void lead(Directory& directory, const std::string& name, std::chrono::milliseconds ttl) {
    for (;;) {
        const auto called = Clock::now();
        try {
            const bool leads = directory.campaign(name, ttl);
            if (leads)
                std::printf("leads %lld %lld\n", ns(Clock::now()), ns(called + ttl));
            else
                std::printf("follows\n");
        } catch (const DirectoryError& error) {
            std::printf("waiting: %s\n", error.what());
        }
        std::this_thread::sleep_for(ttl / 10);
    }
}

void fill(Directory& directory) {
    for (int i = 0;; ++i)
        directory.put("fill/" + std::to_string(i), std::string(10'000, 'x'), Directory::kAbsent);
}

int run(int argc, char** argv) {
    DirectoryOptions options;
    const std::string where = argv[1];
    if (where.starts_with("http"))
        boost::algorithm::split(options.endpoints, where, boost::is_any_of(","));
    else
        options.file = where;
    const auto directory = open_directory(options);
    const std::string what = argv[2];
    if (what == "count" && argc == 4)
        count(*directory, std::stoi(argv[3]));
    else if (what == "lead" && argc == 5)
        lead(*directory, argv[3], std::chrono::milliseconds(std::stoi(argv[4])));
    else if (what == "fill")
        fill(*directory);
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    if (argc < 3) return 2;
    try {
        return run(argc, argv);
    } catch (const DirectoryError& error) {
        constexpr const char* kKinds[] = {"unavailable", "no_space", "damaged", "refused"};
        std::printf("%s: %s\n", kKinds[static_cast<int>(error.kind)], error.what());
        return 1;
    }
}
