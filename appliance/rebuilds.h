// SPDX-License-Identifier: BSD-3-Clause
// An appliance's rebuilds of regions that have lost their home, and probes of other appliances.
#pragma once

#include <cstdint>
#include <string>

#include "mgmt/recovery/rebuilder.h"

namespace lagan::appliance {

struct Appliance;

class Rebuilds {
  public:
    // Control thread, with poll loops running; after Recovery.
    explicit Rebuilds(Appliance& appliance);

    // Any thread, for the end: cancels all.
    void stop() { rebuilder_.cancel_all(); }

    // Control thread. Makes the region, which clients may connect to at once, or finds it as an earlier start
    // left it, maybe whole. Throws ServiceError.
    recovery::RebuildStatus start(const recovery::RebuildRequest& request);
    // Control thread, before a region is destroyed. Throws ServiceError while it is being rebuilt.
    void let_go(const std::string& region);

    // Any thread.
    recovery::Rebuilder& rebuilder() { return rebuilder_; }

    // Any thread but the control thread: waits for a moment. The other appliance's heartbeat, read by RDMA;
    // throws recovery::SourceError.
    uint64_t probe(const recovery::SourceAddress& where, std::chrono::milliseconds patience) const;

  private:
    memory::Region& make_region(const recovery::RebuildRequest& request);

    Appliance& a_;
    const recovery::Connect connect_;
    recovery::Workers workers_;
    recovery::Rebuilder rebuilder_;
};

}  // namespace lagan::appliance
