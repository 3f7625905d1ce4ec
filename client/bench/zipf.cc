// SPDX-License-Identifier: BSD-3-Clause
#include "client/bench/zipf.h"

#include <algorithm>
#include <cmath>

namespace lagan::bench {

// Nearer to theta = 1 than this the power functions lose their digits, and the logarithm is as good.
inline constexpr double kAlmostOne = 1e-9;

Zipf::Zipf(uint64_t n, double theta) : n_(static_cast<double>(n)), theta_(theta) {
    from_ = integral(1.5) - 1;
    to_ = integral(n_ + 0.5);
    shift_ = 2 - inverse_integral(integral(2.5) - density(2));
}

double Zipf::density(double x) const {
    return std::pow(x, -theta_);
}

double Zipf::integral(double x) const {
    const double exponent = 1 - theta_;
    if (std::abs(exponent) < kAlmostOne) return std::log(x);
    return std::expm1(exponent * std::log(x)) / exponent;
}

double Zipf::inverse_integral(double y) const {
    const double exponent = 1 - theta_;
    if (std::abs(exponent) < kAlmostOne) return std::exp(y);
    return std::exp(std::log1p(std::max(exponent * y, -1.0)) / exponent);
}

uint64_t Zipf::operator()(std::mt19937_64& random) const {
    std::uniform_real_distribution<double> uniform(from_, to_);
    while (true) {
        const double area = uniform(random);
        const double x = inverse_integral(area);
        const double rank = std::clamp(std::round(x), 1.0, n_);
        if (rank - x <= shift_ || area >= integral(rank + 0.5) - density(rank))
            return static_cast<uint64_t>(rank) - 1;
    }
}

}  // namespace lagan::bench
