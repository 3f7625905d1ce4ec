// SPDX-License-Identifier: BSD-3-Clause
#include "client/bench/mix.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/algorithm/string.hpp>
#include <boost/lexical_cast.hpp>
#include <numeric>
#include <stdexcept>
#include <vector>

namespace lagan::bench {

inline constexpr uint32_t kMaxWeight = 1'000'000;

Mix Mix::parse(const std::string& text) {
    Mix mix;
    std::vector<std::string> parts;
    boost::split(parts, text, [](char c) { return c == ','; });
    for (const std::string& part : parts) {
        const size_t sign = part.find('=');
        const auto name = std::find(kOpNames.begin(), kOpNames.end(), part.substr(0, sign));
        uint32_t weight = 1;
        if (sign != std::string::npos &&
            !boost::conversion::try_lexical_convert(part.substr(sign + 1), weight))
            weight = kMaxWeight + 1;
        if (name == kOpNames.end() || weight > kMaxWeight)
            throw std::invalid_argument(
                fmt::format("'{}' is no part of a mix: KIND=WEIGHT with KIND read, write or free, as "
                            "in read=70,write=25,free=5",
                            part));
        mix.weights[static_cast<size_t>(name - kOpNames.begin())] = weight;
    }
    if (std::accumulate(mix.weights.begin(), mix.weights.end(), 0U) == 0)
        throw std::invalid_argument(fmt::format("'{}' has no operations in it", text));
    return mix;
}

std::string Mix::to_string() const {
    std::vector<std::string> parts;
    for (uint32_t kind = 0; kind < kOpKinds; kind++) {
        if (weights[kind] != 0) parts.push_back(fmt::format("{}={}", kOpNames[kind], weights[kind]));
    }
    return boost::join(parts, ",");
}

OpKind Mix::pick(std::mt19937_64& random) const {
    const uint32_t sum = std::accumulate(weights.begin(), weights.end(), 0U);
    uint32_t at = std::uniform_int_distribution<uint32_t>(0, sum - 1)(random);
    for (uint32_t kind = 0; kind + 1 < kOpKinds; kind++) {
        if (at < weights[kind]) return static_cast<OpKind>(kind);
        at -= weights[kind];
    }
    return OpKind::free;
}

}  // namespace lagan::bench
