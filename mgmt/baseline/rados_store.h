// SPDX-License-Identifier: BSD-3-Clause
// Objects in a pool of a Ceph cluster.
//
// The prefix and a key's first component, the region, make the namespace, the rest of the key the object's
// name. A large object is written by several operations at once; since segments are bounded, RADOS's limit of
// 128 MiB (osd_max_object_size) holds them.
#pragma once

#include <rados/librados.h>

#include <memory>
#include <string>

#include "mgmt/baseline/object_store.h"
#include "mgmt/baseline/store_url.h"

namespace lagan::baseline {

class RadosStore final : public ObjectStore {
  public:
    // Connects and opens the pool.
    explicit RadosStore(const StoreUrl& url);
    ~RadosStore() override;
    RadosStore(const RadosStore&) = delete;
    RadosStore& operator=(const RadosStore&) = delete;

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

    [[noreturn]] void fail(int error, const std::string& what, const std::string& key) const;
    Context open(const std::string& name_space) const;
    Context open_of(const std::string& key, std::string* name) const;

    const StoreUrl url_;
    rados_t cluster_ = nullptr;
};

}  // namespace lagan::baseline
