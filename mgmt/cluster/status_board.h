// SPDX-License-Identifier: BSD-3-Clause
// What who leads has seen of the nodes, for the answers of every manager.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "mgmt/cluster/api.h"

namespace lagan::cluster {

inline constexpr const char* kStatusPrefix = "status/";

// {"health", "mode", "unclaimed_bytes", "total_bytes", "problem"}: as seen now, or as the leader has last
// written.
nlohmann::json node_status(const ApiParts& parts, const std::string& node);

// Writes what has changed. For the one that leads; throws DirectoryError.
void publish_status(Directory& directory, const View& view, const Observations& observations,
                    Clock::time_point now);

}  // namespace lagan::cluster
