// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/cluster/region_creation.h"

namespace lagan::cluster {

namespace {

// One that is nobody's is not a manager's, whatever its name is: it has somebody's pages.
bool find_made(NodeClient& nodes, const NodeRecord& node, RegionRecord& region) {
    constexpr unsigned kNotFound = 404;
    constexpr uint64_t kNew = 1;  // another epoch is an old attempt's copy
    nlohmann::json made;
    try {
        made = nodes.region(node, region.name);
    } catch (const NodeError& error) {
        if (error.status == kNotFound) return false;
        throw;
    }
    try {
        if (!made.at("managed").get<bool>() || made.at("epoch") != kNew) return false;
        region.uid = made.at("uid").get<std::string>();
        region.epoch = region.last_epoch = made.at("epoch").get<uint64_t>();
        region.size_bytes = made.at("size_bytes").get<uint64_t>();
        region.reserve_bytes = made.at("reserve_bytes").get<uint64_t>();
    } catch (const nlohmann::json::exception& error) {
        throw NodeError(0, node.name + ": what it says of its region is not understood: " + error.what());
    }
    return true;
}

}  // namespace

bool finish_creation(NodeClient& nodes, const NodeRecord& node, RegionRecord& region, uint64_t now_ms) {
    if (!find_made(nodes, node, region)) return false;
    grant_recovery(nodes, node, region, now_ms);
    region.state = RegionRecord::State::ready;
    return true;
}

void delete_home_copy(NodeClient& nodes, const NodeRecord& node, RegionRecord& region) {
    if (region.epoch != 0 || find_made(nodes, node, region))
        nodes.delete_region(node, region.name, region.epoch);
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
