// SPDX-License-Identifier: BSD-3-Clause
// What lagan-bench is asked to do, and its command line.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "client/bench/mix.h"
#include "client/bench/pattern.h"
#include "client/target.h"

namespace lagan::bench {

inline constexpr uint32_t kPageBytes = 4096;

enum ExitStatus : int { kGood = 0, kVerificationFailed = 1, kUsage = 2, kNoConnection = 3, kRolledBack = 4 };

struct Options {
    client::TargetOptions target = {.region_bytes = 64ULL << 20, .purpose = "bench"};
    Mix mix;
    PatternChoice pattern;
    uint32_t op_bytes = kPageBytes;
    uint32_t align_bytes = 0;  // 0 on the command line: the size, at most a page
    uint32_t depth = 1;
    uint32_t qps = 1;
    double rate = 0;  // operations a second, all connections together; 0: closed loop
    double seconds = 5;
    uint64_t ops = 0;  // 0: until the time is up
    double warmup_seconds = 0.5;
    bool fill = true;
    bool verify = false;
    uint64_t seed = 1;
    bool json = false;
    bool progress = false;

    // Is there a region already? Else one is made for the run.
    bool region_exists() const { return !target.region.empty() || !target.grant.empty(); }

    // Operations begin at multiples of this and are multiples of this long: what --verify keeps apart.
    uint32_t cell_bytes() const;
    // What a free of op_bytes frees: whole pages, one at least.
    uint32_t free_bytes() const {
        return op_bytes < kPageBytes ? kPageBytes : op_bytes / kPageBytes * kPageBytes;
    }
};

// Prints what is wrong, or the help, and returns nothing: the process ends with `status` then.
std::optional<Options> parse_options(int argc, const char* const* argv, int& status);

// Throws std::invalid_argument when the region does not hold what the options ask of it.
void check_against_region(const Options& options, uint64_t region_bytes);

}  // namespace lagan::bench
