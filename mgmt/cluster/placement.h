// SPDX-License-Identifier: BSD-3-Clause
// Where a region goes: the node with the most memory that no region claims.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "mgmt/cluster/observations.h"
#include "mgmt/cluster/view.h"

namespace lagan::cluster {

// Enabled nodes that serve and have room, best first, without those in `except`. What failovers under way
// will take counts as taken.
std::vector<std::string> place(const View& view, const Observations& observations, Clock::time_point now,
                               uint64_t needed_bytes, const std::set<std::string>& except);

// What of a region a node must have room for.
uint64_t needed_bytes(const RegionRecord& region);

}  // namespace lagan::cluster
