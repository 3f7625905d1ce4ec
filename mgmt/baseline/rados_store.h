// SPDX-License-Identifier: BSD-3-Clause
// Objects in a pool of a Ceph cluster.
//
// The prefix and a key's first component, the region, make the namespace, the rest of the key the object's
// name. A large object is written by several operations at once; since segments are bounded, RADOS's limit of
// 128 MiB (osd_max_object_size) holds them.
#pragma once

#include <rados/librados.h>

#include <chrono>
#include <memory>
#include <string>

#include "mgmt/baseline/object_store.h"
#include "mgmt/baseline/store_url.h"

namespace lagan::baseline {

class RadosStore final : public ObjectStore {
  public:
    // Connects and opens the pool.
    explicit RadosStore(const StoreUrl& url);

    void put(const std::string& key, std::span<const Bytes> content) override;
    bool put_exclusive(const std::string& key, Bytes content) override;
    void get(const std::string& key, uint64_t offset, std::span<std::byte> to) override;
    uint64_t size_bytes(const std::string& key) override;
    std::vector<std::string> list(const std::string& prefix) override;
    std::vector<std::string> folders() override;
    void remove(const std::string& key) override;
    // A half-written object is one that list() shows: there is nothing else.
    void remove_unfinished(const std::string&, std::chrono::seconds) override {}
    const std::string& where() const override { return url_.text; }

  private:
    class Context;  // of one namespace
    struct Shutdown {
        void operator()(rados_t cluster) const { rados_shutdown(cluster); }
    };
    using Cluster = std::unique_ptr<void, Shutdown>;

    [[noreturn]] void fail(int error, const std::string& what, const std::string& key) const;
    Cluster connect(std::chrono::seconds operation_timeout) const;
    Context open(const Cluster& cluster, const std::string& name_space) const;
    Context open_of(const Cluster& cluster, const std::string& key, std::string* name) const;

    const StoreUrl url_;
    const Cluster cluster_;
    // A connection of its own for listing, which librados has no asynchronous form of, and so nothing that
    // cancels it: its requests end after kListPatience, and are repeated.
    const Cluster for_lists_;
};

}  // namespace lagan::baseline
