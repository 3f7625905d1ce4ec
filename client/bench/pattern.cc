// SPDX-License-Identifier: BSD-3-Clause
#include "client/bench/pattern.h"

#include <fmt/format.h>

#include <numeric>
#include <stdexcept>

namespace lagan::bench {

inline constexpr double kMaxTheta = 10;

PatternChoice PatternChoice::parse(const std::string& text) {
    if (text == "uniform") return {.kind = PatternKind::uniform};
    if (text == "sequential") return {.kind = PatternKind::sequential};
    if (text == "zipf") return {.kind = PatternKind::zipf};
    if (text.starts_with("zipf:")) {
        const std::string number = text.substr(5);
        size_t used = 0;
        double theta = 0;
        try {
            theta = std::stod(number, &used);
        } catch (const std::logic_error&) {  // not a number, or none that a double holds
        }
        if (used == number.size() && theta > 0 && theta <= kMaxTheta)
            return {.kind = PatternKind::zipf, .theta = theta};
    }
    throw std::invalid_argument(
        fmt::format("'{}' is not a pattern: uniform, sequential, zipf, or zipf:THETA with THETA "
                    "above 0 and at most {}",
                    text, kMaxTheta));
}

std::string PatternChoice::to_string() const {
    switch (kind) {
        case PatternKind::uniform:
            return "uniform";
        case PatternKind::sequential:
            return "sequential";
        case PatternKind::zipf:
            break;
    }
    return fmt::format("zipf:{}", theta);
}

Pattern::Pattern(const PatternChoice& choice, uint64_t places, uint64_t start)
    : kind_(choice.kind), places_(places), position_(start) {
    if (kind_ != PatternKind::zipf) return;
    zipf_.emplace(places, choice.theta);
    // About the golden section: neighbours in rank come to lie far apart.
    stride_ = static_cast<uint64_t>(static_cast<double>(places) * 0.618) | 1;
    while (std::gcd(stride_, places_) != 1)
        stride_ += 2;
}

uint64_t Pattern::next(std::mt19937_64& random) {
    switch (kind_) {
        case PatternKind::uniform:
            return std::uniform_int_distribution<uint64_t>(0, places_ - 1)(random);
        case PatternKind::sequential: {
            const uint64_t place = position_;
            position_ = position_ + 1 == places_ ? 0 : position_ + 1;
            return place;
        }
        case PatternKind::zipf:
            break;
    }
    const auto wide = static_cast<unsigned __int128>((*zipf_)(random)) * stride_;
    return static_cast<uint64_t>(wide % places_);
}

}  // namespace lagan::bench
