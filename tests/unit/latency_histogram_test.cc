// SPDX-License-Identifier: BSD-3-Clause
// Percentiles of the histogram are those of the sorted values, to within a bucket.
#define BOOST_TEST_MODULE latency_histogram
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <vector>

#include "client/bench/latency_histogram.h"
#include "tests/unit/logged_seed.h"

using lagan::bench::LatencyHistogram;

namespace {

constexpr double kBucketWidth = 1.0 / 128;

// By the definition: the smallest value that `fraction` of all are not above.
uint64_t sorted_quantile(const std::vector<uint64_t>& sorted, double fraction) {
    const auto rank = static_cast<size_t>(std::ceil(fraction * static_cast<double>(sorted.size())));
    return sorted[std::max<size_t>(rank, 1) - 1];
}

}  // namespace

BOOST_AUTO_TEST_CASE(empty_has_zeros) {
    const LatencyHistogram histogram;
    BOOST_TEST(histogram.count() == 0u);
    BOOST_TEST(histogram.max() == 0u);
    BOOST_TEST(histogram.mean() == 0.0);
    BOOST_TEST(histogram.quantile(0.5) == 0u);
    BOOST_TEST(histogram.quantile(1) == 0u);
}

BOOST_AUTO_TEST_CASE(small_values_are_exact) {
    LatencyHistogram histogram;
    for (uint64_t value = 0; value < 256; value++)
        histogram.record(value);
    for (uint64_t value = 0; value < 256; value++) {
        BOOST_TEST(histogram.quantile(static_cast<double>(value + 1) / 256) == value);
    }
}

BOOST_AUTO_TEST_CASE(one_value_is_every_percentile) {
    for (const uint64_t value : {uint64_t{1}, uint64_t{255}, uint64_t{256}, uint64_t{123'456'789},
                                 uint64_t{1} << 63, std::numeric_limits<uint64_t>::max()}) {
        LatencyHistogram histogram;
        histogram.record(value);
        BOOST_TEST(histogram.quantile(0) == value);
        BOOST_TEST(histogram.quantile(0.5) == value);
        BOOST_TEST(histogram.quantile(0.999) == value);
        BOOST_TEST(histogram.max() == value);
    }
}

BOOST_AUTO_TEST_CASE(percentiles_of_all_magnitudes) {
    auto random = lagan::test::seeded_random();
    LatencyHistogram histogram;
    std::vector<uint64_t> values;
    double sum = 0;
    for (int i = 0; i < 100'000; i++) {
        const uint64_t value = random() >> (random() % 56);
        values.push_back(value);
        histogram.record(value);
        sum += static_cast<double>(value);
    }
    std::sort(values.begin(), values.end());
    for (const double fraction : {0.0, 0.001, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 0.9999, 1.0}) {
        const auto exact = static_cast<double>(sorted_quantile(values, fraction));
        const auto given = static_cast<double>(histogram.quantile(fraction));
        BOOST_TEST_CONTEXT("fraction " << fraction << " exact " << exact << " given " << given) {
            BOOST_TEST(given >= exact);
            BOOST_TEST(given <= exact * (1 + kBucketWidth) + 1);
        }
    }
    BOOST_TEST(histogram.quantile(1) == values.back());
    BOOST_TEST(histogram.mean() == sum / 100'000, boost::test_tools::tolerance(1e-9));
}

BOOST_AUTO_TEST_CASE(merged_is_as_if_recorded_together) {
    auto random = lagan::test::seeded_random();
    LatencyHistogram parts[2], whole;
    for (int i = 0; i < 10'000; i++) {
        const uint64_t value = random() % 1'000'000;
        parts[i % 2].record(value);
        whole.record(value);
    }
    parts[0].merge(parts[1]);
    BOOST_TEST(parts[0].count() == whole.count());
    BOOST_TEST(parts[0].max() == whole.max());
    for (const double fraction : {0.01, 0.5, 0.99})
        BOOST_TEST(parts[0].quantile(fraction) == whole.quantile(fraction));
}
