// SPDX-License-Identifier: BSD-3-Clause
// What FailoverRunner has in its hands during one step.
#pragma once

#include "mgmt/cluster/failover_runner.h"

namespace lagan::cluster {

// One failover, as the directory has it now.
struct FailoverRunner::Work {
    Versioned<FailoverRecord> failover;
    std::optional<Versioned<RegionRecord>> region;

    FailoverRecord& f() { return failover.value; }
    const FailoverRecord& f() const { return failover.value; }
    RegionRecord& r() { return region->value; }
};

}  // namespace lagan::cluster
