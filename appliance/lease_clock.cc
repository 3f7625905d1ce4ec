// SPDX-License-Identifier: BSD-3-Clause
#include "appliance/lease_clock.h"

#include <fmt/format.h>
#include <sys/random.h>

namespace lagan::appliance {

namespace {

// How far the two clocks may drift apart between two looks.
constexpr uint64_t kToleratedMs = 50;
constexpr uint64_t kToleratedPart = 100;  // and 1 % of the time between

std::string random_instance() {
    uint64_t number = 0;
    while (number == 0)
        if (getrandom(&number, sizeof number, 0) != sizeof number) number = 0;
    return fmt::format("{:016x}", number);
}

// `ticks` of a clock of `hz`, without overflow.
uint64_t to_ms(uint64_t ticks, uint64_t hz) {
    return ticks / hz * 1000 + ticks % hz * 1000 / hz;
}
uint64_t to_ticks(uint64_t ms, uint64_t hz) {
    return ms / 1000 * hz + ms % 1000 * hz / 1000;
}

}  // namespace

LeaseClock::LeaseClock(uint64_t start_tsc, uint64_t tsc_hz)
    : start_tsc_(start_tsc), tsc_hz_(tsc_hz), instance_(random_instance()) {}

uint64_t LeaseClock::now_ms(uint64_t tsc) const {
    return to_ms(tsc - start_tsc_, tsc_hz_);
}

std::optional<uint64_t> LeaseClock::end_tsc(uint64_t now_tsc, uint64_t base_ms, uint64_t ttl_ms) const {
    if (base_ms > now_ms(now_tsc)) return {};
    const uint64_t end = start_tsc_ + to_ticks(base_ms + ttl_ms - kLeaseGuardMs, tsc_hz_);
    if (end <= now_tsc) return {};
    return end;
}

bool LeaseClock::went_wrong(uint64_t now_tsc, uint64_t boottime_ms) {
    const bool first = checked_tsc_ == 0;
    const uint64_t mine = to_ms(now_tsc - checked_tsc_, tsc_hz_);
    const uint64_t other = boottime_ms - checked_boottime_ms_;
    const bool backwards = now_tsc < checked_tsc_;
    checked_tsc_ = now_tsc;
    checked_boottime_ms_ = boottime_ms;
    if (first) return false;
    const uint64_t apart = mine > other ? mine - other : other - mine;
    if (!backwards && apart <= kToleratedMs + other / kToleratedPart) return false;
    instance_ = random_instance();
    start_tsc_ = now_tsc;
    return true;
}

}  // namespace lagan::appliance
