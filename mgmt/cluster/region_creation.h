// SPDX-License-Identifier: BSD-3-Clause
// Making a region on a node: a record "creating" first, then the region, then the record "ready".
#pragma once

#include "mgmt/cluster/node_client.h"

namespace lagan::cluster {

inline constexpr uint64_t kRecoverGrantSeconds = 365ULL * 24 * 3600;

// Fills in what the node knows of the region that it has made. False: it has none of that name.
bool finish_creation(NodeClient& nodes, const NodeRecord& node, RegionRecord& region);

}  // namespace lagan::cluster
