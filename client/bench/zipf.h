// SPDX-License-Identifier: BSD-3-Clause
// Zipf-distributed ranks: rank k of 0..n-1 has a probability proportional to (k + 1)^-theta. By
// rejection-inversion (W. Hörmann, G. Derflinger: Rejection-inversion to generate variates from monotone
// discrete distributions, ACM TOMACS 6(3), 1996): no table and no sum over n, about one try per number.
#pragma once

#include <cstdint>
#include <random>

namespace lagan::bench {

class Zipf {
  public:
    // n > 0, theta > 0 (0.99 is what key-value benchmarks use).
    Zipf(uint64_t n, double theta);

    uint64_t operator()(std::mt19937_64& random) const;

  private:
    double density(double x) const;   // x^-theta
    double integral(double x) const;  // of the density, from 1 to x
    double inverse_integral(double y) const;

    double n_;
    double theta_;
    double from_;   // the integral's value at the left end of the first rank's bar ...
    double to_;     // ... and at the right end of the last one's
    double shift_;  // within which an x to the left of its rank needs no test
};

}  // namespace lagan::bench
