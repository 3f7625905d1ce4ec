// SPDX-License-Identifier: BSD-3-Clause
// Making a region on a node: a record "creating" first, then the region, then the record "ready".
#pragma once

#include "mgmt/cluster/directory.h"
#include "mgmt/cluster/node_client.h"

namespace lagan::cluster {

inline constexpr uint64_t kRecoverGrantSeconds = 365ULL * 24 * 3600;

// Fills in what the node knows of the region that it has made. False: it has none of that name that is a
// manager's.
bool finish_creation(NodeClient& nodes, const NodeRecord& node, RegionRecord& region, uint64_t now_ms);

// Also of a region whose creation was not finished.
void delete_home_copy(NodeClient& nodes, const NodeRecord& node, RegionRecord& region);

// A grant to recover the region's copy there, into its record.
void grant_recovery(NodeClient& nodes, const NodeRecord& node, RegionRecord& region, uint64_t now_ms);

// Before the region's record goes: what is left of it anywhere is deleted when it is found.
void note_deletion(Directory& directory, const RegionRecord& region, uint64_t now_ms);

}  // namespace lagan::cluster
