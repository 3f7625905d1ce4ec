// SPDX-License-Identifier: BSD-3-Clause
// When leases end. Times are milliseconds of the processor's clock since this lagand started: the one that
// lcores compare a lease with, so that nothing has to be converted.
//
// A manager renews a lease from a time that this node told it in an earlier reply. So a lease that is asked
// for ends when the manager thinks, however late the request comes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace lagan::appliance {

inline constexpr uint64_t kMinLeaseMs = 200;
inline constexpr uint64_t kMaxLeaseMs = 60'000;
inline constexpr uint64_t kMaxTimeMs = 1ULL << 53;  // what JSON can say exactly, and far from any overflow
// A lease ends so much earlier here than the manager thinks: an lcore that has looked at the clock may be
// kept from going on for a while.
inline constexpr uint64_t kLeaseGuardMs = 100;

class LeaseClock {
  public:
    LeaseClock(uint64_t start_tsc, uint64_t tsc_hz);

    // Times of another clock mean nothing here: whose they are.
    const std::string& instance() const { return instance_; }
    uint64_t now_ms(uint64_t tsc) const;

    // The TSC at which a lease from `base_ms` for `ttl_ms` (kMinLeaseMs to kMaxLeaseMs) ends. Nothing: that
    // is over already, or `base_ms` is no time that this clock has shown.
    std::optional<uint64_t> end_tsc(uint64_t now_tsc, uint64_t base_ms, uint64_t ttl_ms) const;

    // Now and then, with the time of CLOCK_BOOTTIME: true when the processor's clock went wrong against it
    // (stood still in a suspended machine, say). Then the times shown before are of another clock.
    bool went_wrong(uint64_t now_tsc, uint64_t boottime_ms);

  private:
    uint64_t start_tsc_;
    uint64_t tsc_hz_;
    std::string instance_;
    uint64_t checked_tsc_ = 0;  // 0: not yet
    uint64_t checked_boottime_ms_ = 0;
};

}  // namespace lagan::appliance
