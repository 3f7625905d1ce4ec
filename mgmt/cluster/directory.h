// SPDX-License-Identifier: BSD-3-Clause
// The manager's memory: JSON values under keys, each with a revision, changed only by compare-and-swap, and
// leadership with a time limit. Everything else of a manager may be lost at any instant.
//
// Both engines keep the same promises (tests/unit/directory_test.cc): a change that was reported as done
// survives crashes and power cuts; a read sees every change that was reported before it began; of several
// changes that expect the same revision exactly one is done.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace lagan::cluster {

struct DirectoryError : std::runtime_error {
    enum class Kind : uint8_t {
        unavailable,  // may pass: nobody answers, no quorum, busy. A change may have been done, or not
        no_space,     // the disk or the quota is full; reads go on
        damaged,      // what is stored there cannot be read
        refused       // wrong permissions, certificate, format of a newer version
    };
    Kind kind;
    DirectoryError(Kind k, const std::string& what) : std::runtime_error(what), kind(k) {}
};

struct Entry {
    std::string key;  // "regions/db"
    nlohmann::json value;
    uint64_t revision = 0;  // of its last change; grows with every change of the directory
};

// Any thread. Every call may throw DirectoryError.
class Directory {
  public:
    static constexpr uint64_t kAbsent = 0;  // as an expected revision: there is no such key

    virtual ~Directory() = default;

    virtual std::optional<Entry> get(const std::string& key) = 0;
    // Those whose keys begin with `prefix` and are greater than `after`, in the order of their bytes; at most
    // `limit`, or all (0).
    virtual std::vector<Entry> list(const std::string& prefix, const std::string& after = "",
                                    uint64_t limit = 0) = 0;
    // The new revision; nothing if the key's revision is not `expected`.
    virtual std::optional<uint64_t> put(const std::string& key, const nlohmann::json& value,
                                        uint64_t expected) = 0;
    // False if the key's revision is another, or it is gone.
    virtual bool remove(const std::string& key, uint64_t expected) = 0;
    // Changes whenever anything has: what was listed at the same revision is still so.
    virtual uint64_t revision() = 0;

    // Becomes or stays leader for `ttl`, counted from some moment during the call: a caller that leads must
    // take it to be over `ttl` after it *made* the call. `candidate` is any text that no other process uses.
    // One Directory object campaigns for one candidate. False: somebody else leads.
    virtual bool campaign(const std::string& candidate, std::chrono::milliseconds ttl) = 0;
    // The candidate that leads; empty: none.
    virtual std::string leader() = 0;
    // Lets others lead at once, if `candidate` does.
    virtual void resign(const std::string& candidate) = 0;

    // For people: what it is and where.
    virtual std::string describe() const = 0;
};

struct DirectoryOptions {
    // SQLite, when there are no endpoints.
    std::filesystem::path file = "/var/lib/lagan-mgmtd/directory.db";
    // etcd: "https://host:2379", tried one after the other.
    std::vector<std::string> endpoints;
    std::string prefix = "/lagan/";              // of all keys in etcd
    std::filesystem::path ca, certificate, key;  // etcd over TLS; certificate and key: of this client
    std::chrono::milliseconds timeout{2'000};    // of one request to etcd
};

// Opens it, or makes it where there is none (SQLite: mode 0600; a file that others may read is refused, as it
// holds grants). etcd need not answer yet.
std::unique_ptr<Directory> open_directory(const DirectoryOptions& options);

}  // namespace lagan::cluster
