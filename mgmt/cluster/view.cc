// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/cluster/view.h"

namespace lagan::cluster {

namespace {

template <typename T>
std::map<std::string, Versioned<T>> read(Directory& directory, const std::string& prefix) {
    std::map<std::string, Versioned<T>> records;
    for (const Entry& entry : directory.list(prefix)) {
        try {
            records[entry.key.substr(prefix.size())] = {.value = entry.value.get<T>(),
                                                        .revision = entry.revision};
        } catch (const nlohmann::json::exception& error) {
            throw DirectoryError(DirectoryError::Kind::damaged,
                                 directory.describe() + ": " + entry.key + ": " + error.what());
        }
    }
    return records;
}

}  // namespace

std::shared_ptr<const View> Views::refresh() {
    const std::lock_guard one_at_a_time(refresh_mutex_);
    // Asked first: what changes while it is read is read again the next time.
    const uint64_t revision = directory_.revision();
    if (auto known = last(); known->revision == revision && revision != 0) return known;
    auto view = std::make_shared<View>();
    view->revision = revision;
    view->nodes = read<NodeRecord>(directory_, kNodePrefix);
    view->regions = read<RegionRecord>(directory_, kRegionPrefix);
    view->failovers = read<FailoverRecord>(directory_, kFailoverPrefix);
    std::erase_if(view->failovers, [](const auto& failover) { return failover.second.value.ended(); });
    const std::lock_guard lock(mutex_);
    view_ = view;
    return view;
}

std::shared_ptr<const View> Views::last() const {
    const std::lock_guard lock(mutex_);
    return view_;
}

}  // namespace lagan::cluster
