// SPDX-License-Identifier: BSD-3-Clause
#include "client/run/report.h"

#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

namespace lagan::client::run {

namespace {

double mib(uint64_t pages) {
    return static_cast<double>(pages * pager::kPageBytes) / (1 << 20);
}

}  // namespace

void Report::print_progress(Clock::time_point now) {
    const pager::PagerStats stats = pager_.stats();
    const double seconds = std::chrono::duration<double>(now - last_).count();
    const auto rate = [seconds](uint64_t after, uint64_t before) {
        return static_cast<double>(after - before) / seconds;
    };
    std::fprintf(stderr,
                 "lagan: %5.0f s  local %.1f MiB  pages out %" PRIu64 " (%.0f/s)  pages in %" PRIu64
                 " (%.0f/s)  faults/s %.0f\n",
                 std::chrono::duration<double>(now - start_).count(), mib(stats.resident_pages),
                 stats.pages_stored, rate(stats.pages_stored, before_.pages_stored), stats.pages_read,
                 rate(stats.pages_read, before_.pages_read), rate(stats.faults, before_.faults));
    before_ = stats;
    last_ = now;
}

// Nothing, if there were none: that is how nearly every run ends.
std::string Report::reconnections() const {
    const uint64_t count = store_.reconnections();
    if (count == 0) return {};
    return ", " + std::to_string(count) + (count == 1 ? " reconnection" : " reconnections");
}

void Report::finish(const std::string& stats_file, int exit_status) const {
    const pager::PagerStats stats = pager_.stats();
    const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
    if (!pager_.attached()) {
        std::fprintf(stderr,
                     "lagan: the program never used far memory (it did not load the preload library)\n");
    }
    std::fprintf(stderr,
                 "lagan: %" PRIu64 " faults, %" PRIu64 " pages read, %" PRIu64 " stored, %" PRIu64
                 " freed, peak local memory %.1f MiB%s\n",
                 stats.faults, stats.pages_read, stats.pages_stored, stats.pages_freed,
                 mib(stats.peak_resident_pages), reconnections().c_str());
    if (stats_file.empty()) return;
    const nlohmann::json figures = {
        {"exit_status", exit_status},
        {"seconds", seconds},
        {"faults", stats.faults},
        {"pages_read", stats.pages_read},
        {"pages_prefetched", stats.pages_prefetched},
        {"pages_stored", stats.pages_stored},
        {"pages_freed", stats.pages_freed},
        {"pages_first_touched", stats.zero_fills},
        {"pages_given_up", stats.pages_removed},
        {"reconnections", store_.reconnections()},
        {"peak_local_bytes", uint64_t{stats.peak_resident_pages} * pager::kPageBytes},
    };
    std::ofstream file(stats_file);
    if (!(file << figures.dump() << '\n'))
        std::fprintf(stderr, "lagan: cannot write %s\n", stats_file.c_str());
}

}  // namespace lagan::client::run
