// SPDX-License-Identifier: BSD-3-Clause
// 24-bit packet sequence numbers, which wrap.
#pragma once

#include <cstdint>

namespace lagan::roce {

inline constexpr uint32_t kPsnMask = 0xffffff;

constexpr uint32_t psn_add(uint32_t psn, uint32_t count) {
    return (psn + count) & kPsnMask;
}

// < 0: a is before b; 0: equal; > 0: a is after b. Right while they are less than 2^23 apart.
constexpr int32_t psn_compare(uint32_t a, uint32_t b) {
    return static_cast<int32_t>((a - b) << 8);
}

// How many PSNs b is ahead of a, modulo 2^24.
constexpr uint32_t psn_distance(uint32_t a, uint32_t b) {
    return (b - a) & kPsnMask;
}

// PSNs that a READ of `bytes` takes: at least one.
constexpr uint32_t psn_count(uint32_t bytes, uint32_t mtu_bytes) {
    return bytes == 0 ? 1 : (bytes - 1) / mtu_bytes + 1;
}

}  // namespace lagan::roce
