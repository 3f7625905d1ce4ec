// SPDX-License-Identifier: BSD-3-Clause
// What is counted while the load runs.
#pragma once

#include <array>
#include <cstdint>

#include "client/bench/latency_histogram.h"
#include "client/bench/mix.h"

namespace lagan::bench {

struct Figures {
    uint64_t from_ns = 0;  // operations that were due before this are warm-up and not counted
    uint64_t to_ns = 0;    // the last completion
    std::array<LatencyHistogram, kOpKinds> latency;
    std::array<uint64_t, kOpKinds> bytes{};
    uint64_t unsent = 0;  // with --rate: due before the end, and never posted

    uint64_t operations() const {
        uint64_t sum = 0;
        for (const LatencyHistogram& kind : latency)
            sum += kind.count();
        return sum;
    }
    double seconds() const { return to_ns > from_ns ? static_cast<double>(to_ns - from_ns) / 1e9 : 0; }
};

}  // namespace lagan::bench
