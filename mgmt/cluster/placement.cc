// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/cluster/placement.h"

#include <algorithm>

namespace lagan::cluster {

uint64_t needed_bytes(const RegionRecord& region) {
    return region.reserve_bytes != 0 ? region.reserve_bytes : region.size_bytes;
}

std::vector<std::string> place(const View& view, const Observations& observations, Clock::time_point now,
                               uint64_t needed, const std::set<std::string>& except) {
    std::map<std::string, uint64_t> promised;
    for (const auto& [id, failover] : view.failovers) {
        const auto region = view.regions.find(failover.value.region);
        if (failover.value.step == FailoverRecord::Step::target_chosen && region != view.regions.end())
            promised[failover.value.target] += needed_bytes(region->second.value);
    }
    std::vector<std::pair<uint64_t, std::string>> rooms;
    for (const auto& [name, node] : view.nodes) {
        if (!node.value.enabled || except.contains(name)) continue;
        const NodeSeen seen = observations.seen(name, now);
        const uint64_t taken = promised[name];
        if (!seen.serves() || seen.last.unclaimed_bytes < taken + needed) continue;
        rooms.emplace_back(seen.last.unclaimed_bytes - taken, name);
    }
    std::sort(rooms.begin(), rooms.end(), [](const auto& one, const auto& other) {
        return one.first != other.first ? one.first > other.first : one.second < other.second;
    });
    std::vector<std::string> names;
    for (auto& room : rooms)
        names.push_back(std::move(room.second));
    return names;
}

}  // namespace lagan::cluster
