// SPDX-License-Identifier: BSD-3-Clause
// The CM's timeouts, which peers name as exponents.
#pragma once

#include <algorithm>
#include <cstdint>

namespace lagan::cm {

// 4.096 us × 2^exponent.
constexpr uint64_t timeout_us(uint8_t exponent) {
    return (uint64_t{4096} << (exponent & 31U)) / 1000;
}

// How long to wait before a message is sent again, as a peer wishes it: not so short that we flood it, nor so
// long (2^31 is 2.4 hours) that it holds a half-open connection for ever.
constexpr uint64_t peer_timeout_us(uint8_t exponent) {
    return timeout_us(std::clamp<uint8_t>(exponent, 12, 20));  // 17 ms to 4.3 s
}

// What an MRA may add to a wait: Linux asks for 2^24 (69 s).
constexpr uint64_t extension_us(uint8_t exponent) {
    return timeout_us(std::min<uint8_t>(exponent, 24));
}
inline constexpr uint32_t kMaxExtensions = 2;

}  // namespace lagan::cm
