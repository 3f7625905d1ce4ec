// SPDX-License-Identifier: BSD-3-Clause
// The directory's records in memory, as of one moment not long ago.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "mgmt/cluster/directory.h"
#include "mgmt/cluster/records.h"

namespace lagan::cluster {

template <typename T>
struct Versioned {
    T value;
    uint64_t revision = 0;
};

// One record, from the directory itself. Nothing: there is none.
template <typename T>
std::optional<Versioned<T>> load(Directory& directory, const std::string& prefix, const std::string& name) {
    const auto entry = directory.get(prefix + name);
    if (!entry) return std::nullopt;
    return Versioned<T>{.value = entry->value.template get<T>(), .revision = entry->revision};
}

// False: somebody else has changed it since; read it again.
template <typename T>
bool store(Directory& directory, const std::string& prefix, const std::string& name, Versioned<T>& record) {
    const auto revision = directory.put(prefix + name, record.value, record.revision);
    if (revision) record.revision = *revision;
    return revision.has_value();
}

struct View {
    uint64_t revision = 0;
    std::map<std::string, Versioned<NodeRecord>> nodes;
    std::map<std::string, Versioned<RegionRecord>> regions;
    std::map<std::string, Versioned<FailoverRecord>> failovers;  // that have not ended
};

// Any thread.
class Views {
  public:
    explicit Views(Directory& directory) : directory_(directory), view_(std::make_shared<View>()) {}

    // Reads what has changed. Throws DirectoryError; a record that cannot be understood is damaged.
    std::shared_ptr<const View> refresh();
    std::shared_ptr<const View> last() const;

  private:
    Directory& directory_;
    std::mutex refresh_mutex_;  // one reads at a time
    mutable std::mutex mutex_;
    std::shared_ptr<const View> view_;  // under mutex_
};

}  // namespace lagan::cluster
