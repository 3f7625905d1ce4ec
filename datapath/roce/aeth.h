// SPDX-License-Identifier: BSD-3-Clause
// AETH syndromes (IBA 9.7.5.2.1): ACK with credits, RNR NAK with a timer code, NAK with a reason.
#pragma once

#include <cstdint>

namespace lagan::roce {

inline constexpr uint8_t kAckNoCredits = 0x1f;  // ACK; end-to-end credits are not used
inline constexpr uint8_t kRnrNak = 0x20;        // | 5-bit timer code

enum class Nak : uint8_t {
    psn_sequence_error = 0x60,
    invalid_request = 0x61,
    remote_access_error = 0x62,
    remote_operational_error = 0x63,
    invalid_rd_request = 0x64,
};

constexpr bool is_ack(uint8_t syndrome) {
    return (syndrome & 0xe0) == 0x00;
}
constexpr bool is_rnr_nak(uint8_t syndrome) {
    return (syndrome & 0xe0) == kRnrNak;
}
constexpr bool is_nak(uint8_t syndrome) {
    return (syndrome & 0xe0) == 0x60;
}

// How many microseconds an RNR NAK asks the requester to wait (IBA table 45; code 0 is the longest).
constexpr uint32_t rnr_wait_us(uint8_t timer_code) {
    constexpr uint32_t kTensOfUs[32] = {65536, 1,    2,    3,    4,    6,     8,     12,    16,    24,   32,
                                        48,    64,   96,   128,  192,  256,   384,   512,   768,   1024, 1536,
                                        2048,  3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768, 49152};
    return kTensOfUs[timer_code & 0x1f] * 10;
}

}  // namespace lagan::roce
