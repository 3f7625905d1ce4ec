// SPDX-License-Identifier: BSD-3-Clause
// Powers of x modulo the CRC-32 polynomial, for tables and folding constants made at compile time.
#pragma once

#include <cstdint>

namespace lagan::roce::detail {

// Polynomials of degree < 32 in reflected order: bit 31 is the coefficient of x^0.
inline constexpr uint32_t kReflectedPolynomial = 0xedb88320;
inline constexpr uint32_t kOne = 0x80000000;

constexpr uint32_t times_x(uint32_t value) {
    return (value >> 1) ^ ((value & 1) != 0 ? kReflectedPolynomial : 0);
}

constexpr uint32_t divided_by_x(uint32_t value) {
    return (value & kOne) != 0 ? ((value ^ kReflectedPolynomial) << 1) | 1 : value << 1;
}

constexpr uint32_t x_power(int exponent) {
    uint32_t value = kOne;
    for (; exponent > 0; --exponent)
        value = times_x(value);
    for (; exponent < 0; ++exponent)
        value = divided_by_x(value);
    return value;
}

// What moves a 16-byte piece of data on by some bits: its halves are multiplied by x^(bits+64) and x^bits.
// One power lower here, because a carry-less product of reflected words gains an x.
struct FoldConstants {
    long long low, high;  // for the earlier and the later eight bytes
};

constexpr FoldConstants fold_by(int bits) {
    auto in_upper_half = [](uint32_t value) {
        return static_cast<long long>(static_cast<uint64_t>(value) << 32);
    };
    return {in_upper_half(x_power(bits + 63)), in_upper_half(x_power(bits - 1))};
}

}  // namespace lagan::roce::detail
