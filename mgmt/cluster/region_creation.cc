// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/cluster/region_creation.h"

namespace lagan::cluster {

bool finish_creation(NodeClient& nodes, const NodeRecord& node, RegionRecord& region, uint64_t now_ms) {
    constexpr unsigned kNotFound = 404;
    nlohmann::json made;
    try {
        made = nodes.region(node, region.name);
    } catch (const NodeError& error) {
        if (error.status == kNotFound) return false;
        throw;
    }
    try {
        region.uid = made.at("uid").get<std::string>();
        region.epoch = region.last_epoch = made.at("epoch").get<uint64_t>();
        region.size_bytes = made.at("size_bytes").get<uint64_t>();
        region.reserve_bytes = made.at("reserve_bytes").get<uint64_t>();
    } catch (const nlohmann::json::exception& error) {
        throw NodeError(0, node.name + ": what it says of its region is not understood: " + error.what());
    }
    grant_recovery(nodes, node, region, now_ms);
    region.state = RegionRecord::State::ready;
    return true;
}

void grant_recovery(NodeClient& nodes, const NodeRecord& node, RegionRecord& region, uint64_t now_ms) {
    region.recover_grant = nodes.grant(node, region.name, "recover", kRecoverGrantSeconds).grant;
    region.granted_ms = now_ms;
}

void note_deletion(Directory& directory, const RegionRecord& region, uint64_t now_ms) {
    if (region.uid.empty()) return;
    const std::string key = kDeletedPrefix + region.uid;
    if (!directory.get(key))
        directory.put(key, {{"region", region.name}, {"time_ms", now_ms}}, Directory::kAbsent);
}

}  // namespace lagan::cluster
