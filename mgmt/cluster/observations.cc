// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/cluster/observations.h"

#include <algorithm>

namespace lagan::cluster {

const char* to_string(NodeSeen::Health health) {
    switch (health) {
        case NodeSeen::Health::up:
            return "up";
        case NodeSeen::Health::suspect:
            return "suspect";
        case NodeSeen::Health::unknown:
            break;
    }
    return "unknown";
}

const HeardRegion* NodeSeen::region(const std::string& name) const {
    const auto found = std::find_if(last.regions.begin(), last.regions.end(),
                                    [&](const HeardRegion& region) { return region.name == name; });
    return found == last.regions.end() ? nullptr : &*found;
}

void Observations::begin(Clock::time_point now) {
    const std::lock_guard lock(mutex_);
    begin_ = now;
    nodes_.clear();
}

void Observations::heard(const std::string& node, HeartbeatReply reply, const std::vector<Copy>& there,
                         Clock::time_point now) {
    const std::lock_guard lock(mutex_);
    Known& known = nodes_[node];
    std::map<Copy, unsigned> missing;
    for (const Copy& copy : there) {
        const bool found =
            std::any_of(reply.regions.begin(), reply.regions.end(), [&](const HeardRegion& region) {
                return region.name == copy.region && region.uid == copy.uid && region.epoch == copy.epoch;
            });
        if (!found) missing[copy] = known.missing[copy] + 1;
    }
    known = {.reply = std::move(reply), .ever = true, .last = now, .missing = std::move(missing)};
}

void Observations::failed(const std::string& node, const std::string& why) {
    const std::lock_guard lock(mutex_);
    nodes_[node].problem = why;
}

void Observations::forget(const std::string& node) {
    const std::lock_guard lock(mutex_);
    nodes_.erase(node);
}

NodeSeen Observations::seen(const std::string& node, Clock::time_point now) const {
    const std::lock_guard lock(mutex_);
    NodeSeen seen;
    const auto known = nodes_.find(node);
    Clock::time_point last = begin_;
    if (known != nodes_.end()) {
        seen.last = known->second.reply;
        seen.ever = known->second.ever;
        seen.problem = known->second.problem;
        last = std::max(last, known->second.last);
    }
    seen.silence = now - last;
    if (seen.silence > times_.missed * times_.interval)
        seen.health = NodeSeen::Health::suspect;
    else if (seen.ever)
        seen.health = NodeSeen::Health::up;
    return seen;
}

unsigned Observations::times_missing(const std::string& node, const Copy& copy) const {
    const std::lock_guard lock(mutex_);
    const auto known = nodes_.find(node);
    if (known == nodes_.end()) return 0;
    const auto missing = known->second.missing.find(copy);
    return missing == known->second.missing.end() ? 0 : missing->second;
}

}  // namespace lagan::cluster
