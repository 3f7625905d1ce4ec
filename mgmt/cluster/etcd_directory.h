// SPDX-License-Identifier: BSD-3-Clause
// The directory in an etcd cluster. Revisions are etcd's own. Every value is stored with a number drawn for
// that change: when an answer is lost and the change is sent to another member, it shows whether the first
// was done.
#pragma once

#include <mutex>

#include "mgmt/cluster/directory.h"
#include "mgmt/cluster/etcd_client.h"

namespace lagan::cluster {

class EtcdDirectory final : public Directory {
  public:
    explicit EtcdDirectory(const DirectoryOptions& options);

    std::optional<Entry> get(const std::string& key) override;
    std::vector<Entry> list(const std::string& prefix, const std::string& after, uint64_t limit) override;
    std::optional<uint64_t> put(const std::string& key, const nlohmann::json& value,
                                uint64_t expected) override;
    bool remove(const std::string& key, uint64_t expected) override;
    uint64_t revision() override;
    bool campaign(const std::string& candidate, std::chrono::milliseconds ttl) override;
    std::string leader() override;
    void resign(const std::string& candidate) override;
    std::string describe() const override;

  private:
    struct Stored;
    // Of one key; nothing if there is none.
    std::optional<Stored> read(const std::string& key);
    Stored parse(const nlohmann::json& kv) const;
    [[noreturn]] void damaged(const std::string& key) const;
    bool keep_alive(const std::string& lease);

    EtcdClient client_;
    const std::string keys_;    // prefix of the keys
    const std::string leader_;  // the key that who leads holds
    std::mutex mutex_;
    std::string lease_;  // under mutex_: etcd's lease of our leadership; empty: none
};

}  // namespace lagan::cluster
