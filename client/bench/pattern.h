// SPDX-License-Identifier: BSD-3-Clause
// Which of n places the next operation goes to.
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <string>

#include "client/bench/zipf.h"

namespace lagan::bench {

enum class PatternKind : uint8_t { uniform, zipf, sequential };

struct PatternChoice {
    PatternKind kind = PatternKind::uniform;
    double theta = 0.99;  // zipf

    // "uniform", "zipf", "zipf:1.2" or "sequential". Throws std::invalid_argument that says what is allowed.
    static PatternChoice parse(const std::string& text);
    std::string to_string() const;
};

class Pattern {
  public:
    // `start`: where a sequential walk begins, < places.
    Pattern(const PatternChoice& choice, uint64_t places, uint64_t start);

    uint64_t next(std::mt19937_64& random);

  private:
    PatternKind kind_;
    uint64_t places_;
    uint64_t position_;
    uint64_t stride_ = 1;  // zipf: scatters the popular places; has no divisor in common with places_
    std::optional<Zipf> zipf_;
};

}  // namespace lagan::bench
