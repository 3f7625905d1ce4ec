// SPDX-License-Identifier: BSD-3-Clause
// Counts latencies in log-linear buckets: 128 for every power of two, so that a percentile is at most 0.8 %
// too high, in 58 KiB whatever was recorded. Single-threaded. (Debian 12 packages no C or C++ HDR histogram.)
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

namespace lagan::bench {

class LatencyHistogram {
  public:
    void record(uint64_t ns) {
        counts_[bucket_of(ns)]++;
        count_++;
        sum_ += static_cast<double>(ns);
        max_ = std::max(max_, ns);
    }

    uint64_t count() const { return count_; }
    uint64_t max() const { return max_; }
    double mean() const { return count_ == 0 ? 0 : sum_ / static_cast<double>(count_); }

    // The value that `fraction` (0 to 1) of all are not above: the upper end of its bucket, and never above
    // max(). 0 when nothing was recorded.
    uint64_t quantile(double fraction) const {
        const double wanted = std::ceil(fraction * static_cast<double>(count_));
        const uint64_t rank =
            std::clamp<uint64_t>(static_cast<uint64_t>(wanted), 1, std::max<uint64_t>(count_, 1));
        uint64_t seen = 0;
        for (uint32_t bucket = 0; bucket < kBuckets; bucket++) {
            seen += counts_[bucket];
            if (seen >= rank) return std::min(upper_end(bucket), max_);
        }
        return max_;
    }

    void merge(const LatencyHistogram& other) {
        for (uint32_t bucket = 0; bucket < kBuckets; bucket++)
            counts_[bucket] += other.counts_[bucket];
        count_ += other.count_;
        sum_ += other.sum_;
        max_ = std::max(max_, other.max_);
    }

  private:
    static constexpr uint32_t kSubBits = 7;
    static constexpr uint32_t kSubBuckets = 1U << kSubBits;
    static constexpr uint32_t kBuckets = (64 - kSubBits + 1) * kSubBuckets;

    // Below kSubBuckets a bucket for each value; above, the kSubBits bits behind the leading one choose it.
    static uint32_t bucket_of(uint64_t value) {
        if (value < kSubBuckets) return static_cast<uint32_t>(value);
        const uint32_t shift = static_cast<uint32_t>(std::bit_width(value)) - 1 - kSubBits;
        return shift * kSubBuckets + static_cast<uint32_t>(value >> shift);
    }
    static uint64_t upper_end(uint32_t bucket) {
        if (bucket < 2 * kSubBuckets) return bucket;
        const uint32_t shift = bucket / kSubBuckets - 1;
        const uint64_t leading = bucket - shift * kSubBuckets;
        return ((leading + 1) << shift) - 1;  // of the last bucket: wraps round to the largest value
    }

    std::vector<uint64_t> counts_ = std::vector<uint64_t>(kBuckets);
    uint64_t count_ = 0;
    uint64_t max_ = 0;
    double sum_ = 0;
};

}  // namespace lagan::bench
