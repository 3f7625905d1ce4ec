// SPDX-License-Identifier: BSD-3-Clause
// Random tests: a new seed on every run, in the log, and the old one again with LAGAN_TEST_SEED=n.
#pragma once

#include <boost/test/unit_test.hpp>
#include <cstdint>
#include <cstdlib>
#include <random>

namespace lagan::test {

inline std::mt19937_64 seeded_random() {
    const char* wanted = std::getenv("LAGAN_TEST_SEED");
    const uint64_t seed = wanted != nullptr ? std::strtoull(wanted, nullptr, 0) : std::random_device{}();
    BOOST_TEST_MESSAGE("LAGAN_TEST_SEED=" << seed);
    return std::mt19937_64(seed);
}

}  // namespace lagan::test
