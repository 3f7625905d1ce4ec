// SPDX-License-Identifier: BSD-3-Clause
// Where lagan-bench's operations go: the Zipf distribution against its definition, patterns, mixes.
#define BOOST_TEST_MODULE bench_pattern
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <set>
#include <stdexcept>
#include <vector>

#include "client/bench/mix.h"
#include "client/bench/pattern.h"
#include "client/bench/zipf.h"
#include "tests/unit/logged_seed.h"

using namespace lagan::bench;

namespace {

constexpr int kDraws = 200'000;
// Standard deviations that a count may be off; a right generator fails once in 10^11 of these comparisons.
constexpr double kSigmas = 7;

}  // namespace

BOOST_AUTO_TEST_CASE(zipf_counts_follow_the_definition) {
    auto random = lagan::test::seeded_random();
    for (const double theta : {0.2, 0.5, 0.99, 1.0, 1.0000001, 1.3, 3.0}) {
        for (const uint64_t n : {uint64_t{1}, uint64_t{2}, uint64_t{7}, uint64_t{500}}) {
            const Zipf zipf(n, theta);
            std::vector<int> counts(n);
            for (int i = 0; i < kDraws; i++)
                counts.at(zipf(random))++;
            double sum = 0;
            for (uint64_t rank = 1; rank <= n; rank++)
                sum += std::pow(static_cast<double>(rank), -theta);
            for (uint64_t rank = 1; rank <= n; rank++) {
                const double p = std::pow(static_cast<double>(rank), -theta) / sum;
                const double deviation = std::sqrt(kDraws * p * (1 - p));
                BOOST_TEST_CONTEXT("theta " << theta << " n " << n << " rank " << rank)
                BOOST_TEST(std::abs(counts[rank - 1] - kDraws * p) <= kSigmas * deviation + 1);
            }
        }
    }
}

BOOST_AUTO_TEST_CASE(zipf_stays_in_range_over_huge_ranges) {
    auto random = lagan::test::seeded_random();
    const uint64_t n = 1ULL << 40;
    const Zipf zipf(n, 0.99);
    for (int i = 0; i < kDraws; i++)
        BOOST_REQUIRE(zipf(random) < n);
}

BOOST_AUTO_TEST_CASE(zipf_pattern_scatters_ranks_without_losing_any) {
    auto random = lagan::test::seeded_random();
    for (const uint64_t places : {uint64_t{1}, uint64_t{2}, uint64_t{3}, uint64_t{6}, uint64_t{30}}) {
        Pattern pattern({.kind = PatternKind::zipf, .theta = 0.1}, places, 0);
        std::set<uint64_t> seen;
        for (int i = 0; i < 10'000; i++)
            seen.insert(pattern.next(random));
        BOOST_TEST(seen.size() == places);
        BOOST_TEST(*seen.rbegin() < places);
    }
}

BOOST_AUTO_TEST_CASE(uniform_pattern_reaches_all_places_alike) {
    auto random = lagan::test::seeded_random();
    constexpr int kPlaces = 50;
    Pattern pattern({.kind = PatternKind::uniform}, kPlaces, 0);
    std::vector<int> counts(kPlaces);
    for (int i = 0; i < kDraws; i++)
        counts.at(pattern.next(random))++;
    const double expected = kDraws / kPlaces;
    for (const int count : counts)
        BOOST_TEST(std::abs(count - expected) <= kSigmas * std::sqrt(expected));
}

BOOST_AUTO_TEST_CASE(sequential_pattern_wraps_round) {
    std::mt19937_64 random;
    Pattern pattern({.kind = PatternKind::sequential}, 4, 2);
    for (const uint64_t expected : {2, 3, 0, 1, 2})
        BOOST_TEST(pattern.next(random) == expected);
}

BOOST_AUTO_TEST_CASE(patterns_by_name) {
    BOOST_TEST((PatternChoice::parse("sequential").kind == PatternKind::sequential));
    BOOST_TEST(PatternChoice::parse("zipf").theta == 0.99);
    BOOST_TEST(PatternChoice::parse("zipf:1.5").theta == 1.5);
    BOOST_TEST(PatternChoice::parse("zipf:1.5").to_string() == "zipf:1.5");
    for (const char* bad :
         {"", "zipf:", "zipf:0", "zipf:-1", "zipf:1x", "zipf:nan", "zipf:1e9", "zipf:1e999", "random"})
        BOOST_CHECK_THROW(PatternChoice::parse(bad), std::invalid_argument);
}

BOOST_AUTO_TEST_CASE(mixes_by_name) {
    BOOST_TEST(Mix::parse("read").to_string() == "read=1");
    BOOST_TEST(Mix::parse("free=5,read=70,write=25").to_string() == "read=70,write=25,free=5");
    BOOST_TEST(!Mix::parse("read=1,write=0").has(OpKind::write));
    for (const char* bad : {"", "read=0", "read=", "read=x", "read=-1", "erase=1", "read=70,",
                            "read=1;write=1", "read=99999999999"})
        BOOST_CHECK_THROW(Mix::parse(bad), std::invalid_argument);
}

BOOST_AUTO_TEST_CASE(kinds_come_by_their_weights) {
    auto random = lagan::test::seeded_random();
    const Mix mix = Mix::parse("read=70,write=25,free=5");
    std::array<int, kOpKinds> counts{};
    for (int i = 0; i < kDraws; i++)
        counts.at(index_of(mix.pick(random)))++;
    for (uint32_t kind = 0; kind < kOpKinds; kind++) {
        const double p = mix.weights[kind] / 100.0;
        BOOST_TEST(std::abs(counts[kind] - kDraws * p) <= kSigmas * std::sqrt(kDraws * p * (1 - p)));
    }
}
