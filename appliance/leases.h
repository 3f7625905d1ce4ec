// SPDX-License-Identifier: BSD-3-Clause
// The leases of this node's regions: renewed by a manager's heartbeats, ended by fences. And the signs of
// life that whoever watches this node looks at.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <set>
#include <string>

#include "appliance/lease_clock.h"
#include "appliance/node_service.h"
#include "datapath/memory/region_table.h"

namespace lagan::appliance {

struct Appliance;

// Control thread only.
class Leases {
  public:
    explicit Leases(Appliance& appliance);

    // Renews what it can. The reply's regions are left to the caller.
    HeartbeatReply heartbeat(const HeartbeatRequest& request);
    // The region stops for good; throws ServiceError unless the epoch is above the region's.
    void fence(memory::Region& region, uint64_t epoch);
    // "unmanaged", "valid", "expired" or "fenced".
    static const char* state_of(const memory::Region& region);

    // Each turn of the control loop; does something ten times a second.
    void tick();

  private:
    using Clock = std::chrono::steady_clock;
    std::string refusal_of(const LeaseRequest& wanted, const memory::Region* region) const;
    // Why not; empty: renewed until `end`, a TSC.
    std::string renew(const LeaseRequest& wanted, std::optional<uint64_t> end);
    void check_clock();
    void close_fenced();

    Appliance& a_;
    LeaseClock clock_;
    uint64_t beats_ = 0;
    Clock::time_point next_;
    std::set<uint32_t> told_;  // regions whose fence has been noticed
};

}  // namespace lagan::appliance
