// SPDX-License-Identifier: BSD-3-Clause
// A store before another one, whose calls somebody can end.
#pragma once

#include <type_traits>

#include "mgmt/baseline/interruption.h"
#include "mgmt/baseline/object_store.h"

namespace lagan::baseline {

// Calls that wait end as Interruption says when token() is stopped; those made afterwards fail at once,
// whatever the engine.
class InterruptibleStore : public ObjectStore {
  public:
    void put(const std::string& key, std::span<const Bytes> content) override {
        ask([&](ObjectStore& store) { store.put(key, content); });
    }
    bool put_exclusive(const std::string& key, Bytes content) override {
        return ask([&](ObjectStore& store) { return store.put_exclusive(key, content); });
    }
    void get(const std::string& key, uint64_t offset, std::span<std::byte> to) override {
        ask([&](ObjectStore& store) { store.get(key, offset, to); });
    }
    uint64_t size_bytes(const std::string& key) override {
        return ask([&](ObjectStore& store) { return store.size_bytes(key); });
    }
    std::vector<std::string> list(const std::string& prefix) override {
        return ask([&](ObjectStore& store) { return store.list(prefix); });
    }
    std::vector<std::string> folders() override {
        return ask([&](ObjectStore& store) { return store.folders(); });
    }
    void remove(const std::string& key) override {
        ask([&](ObjectStore& store) { store.remove(key); });
    }
    void remove_unfinished(const std::string& folder, std::chrono::seconds age) override {
        ask([&](ObjectStore& store) { store.remove_unfinished(folder, age); });
    }

  private:
    virtual std::stop_token token() const = 0;
    virtual ObjectStore& target() = 0;  // may wait, and be interrupted

    template <typename Call>
    std::invoke_result_t<Call, ObjectStore&> ask(const Call& call) {
        const Interruption until(token());
        Interruption::check(where());
        return call(target());
    }
};

}  // namespace lagan::baseline
