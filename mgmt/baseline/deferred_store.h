// SPDX-License-Identifier: BSD-3-Clause
// A store that is opened when it is first needed, and again as long as that fails: an appliance must start,
// and serve its regions, while its store is away.
#pragma once

#include <memory>
#include <mutex>

#include "mgmt/baseline/store_url.h"

namespace lagan::baseline {

class DeferredStore final : public ObjectStore {
  public:
    explicit DeferredStore(StoreUrl url) : url_(std::move(url)) {}

    // Throws as open_store() does. All other functions call it first.
    ObjectStore& open();

    void put(const std::string& key, std::span<const Bytes> content) override { open().put(key, content); }
    bool put_exclusive(const std::string& key, Bytes content) override {
        return open().put_exclusive(key, content);
    }
    void get(const std::string& key, uint64_t offset, std::span<std::byte> to) override {
        open().get(key, offset, to);
    }
    uint64_t size_bytes(const std::string& key) override { return open().size_bytes(key); }
    std::vector<std::string> list(const std::string& prefix) override { return open().list(prefix); }
    std::vector<std::string> folders() override { return open().folders(); }
    void remove(const std::string& key) override { open().remove(key); }
    void remove_unfinished(const std::string& folder, std::chrono::seconds age) override {
        open().remove_unfinished(folder, age);
    }
    const std::string& where() const override { return url_.text; }

  private:
    const StoreUrl url_;
    std::mutex mutex_;
    std::unique_ptr<ObjectStore> store_;  // under mutex_ until it is there; then constant
};

}  // namespace lagan::baseline
