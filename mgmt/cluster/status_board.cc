// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/cluster/status_board.h"

namespace lagan::cluster {

using nlohmann::json;

namespace {

constexpr uint64_t kCoarseBytes = 64U << 20;  // memory is written when it has changed by about so much

json to_status(const NodeSeen& seen) {
    return {{"health", to_string(seen.health)},
            {"mode", seen.ever ? json(seen.last.mode) : json()},
            {"total_bytes", seen.last.total_bytes},
            {"unclaimed_bytes", seen.last.unclaimed_bytes},
            {"problem", seen.up() || seen.problem.empty() ? json() : json(seen.problem)}};
}

}  // namespace

json node_status(const ApiParts& parts, const std::string& node) {
    const auto now = parts.clocks.now();
    if (parts.leases.leads(now)) return to_status(parts.observations.seen(node, now));
    const auto entry = parts.directory.get(kStatusPrefix + node);
    return entry ? entry->value : to_status({});
}

void publish_status(Directory& directory, const View& view, const Observations& observations,
                    Clock::time_point now) {
    std::map<std::string, Entry> written;
    for (Entry& entry : directory.list(kStatusPrefix))
        written[entry.key.substr(std::string_view(kStatusPrefix).size())] = std::move(entry);
    for (const auto& [name, node] : view.nodes) {
        json status = to_status(observations.seen(name, now));
        status["unclaimed_bytes"] = status["unclaimed_bytes"].get<uint64_t>() / kCoarseBytes * kCoarseBytes;
        const auto old = written.find(name);
        if (old != written.end() && old->second.value == status) continue;
        directory.put(kStatusPrefix + name, status,
                      old == written.end() ? Directory::kAbsent : old->second.revision);
    }
    for (const auto& [name, entry] : written)
        if (!view.nodes.contains(name)) directory.remove(entry.key, entry.revision);
}

}  // namespace lagan::cluster
