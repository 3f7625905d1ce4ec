// SPDX-License-Identifier: BSD-3-Clause
// Where baselines are kept: named objects that are written once. Three engines: a directory, S3, RADOS.
//
// All functions may be called by any number of threads at once, none of them a poll lcore: they block. They
// throw StoreError. What an engine can mend by trying again (a lost connection, "slow down") it has tried
// before it throws ErrorKind::unavailable. Interruption (interruption.h) ends what takes too long.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace lagan::baseline {

enum class ErrorKind : uint8_t {
    unavailable,  // the store did not answer, or failed in a way that may pass: the operation may be repeated
    no_space,     // full, or over a quota: nothing can be stored until an operator makes room
    refused,      // credentials, permissions, or somebody else's claim: repeating does not help
    missing,      // no such object, bucket, pool or directory
    damaged,      // what was read is not what was written
    invalid,      // our own request or an option is wrong, or the data are of a newer version
};
const char* name_of(ErrorKind kind);

// what() says what failed, where, and what to do; never a secret.
class StoreError : public std::runtime_error {
  public:
    StoreError(ErrorKind kind, const std::string& text) : std::runtime_error(text), kind_(kind) {}
    ErrorKind kind() const { return kind_; }

  private:
    ErrorKind kind_;
};

// The content of an object is given as pieces of the caller's memory, which are written one behind the other.
using Bytes = std::span<const std::byte>;
uint64_t total_bytes(std::span<const Bytes> content);

class ObjectStore {
  public:
    virtual ~ObjectStore() = default;

    // Keys: components of letters, digits, '.', '_' and '-' that do not begin with '.', joined by '/'. The
    // first component is a region's name.

    // Stores a new object. Durable on return. The key was never used before: what happens to an object of
    // that name differs between the engines. After an error there may be a part of the object, or all of it.
    virtual void put(const std::string& key, std::span<const Bytes> content) = 0;

    // Stores a new small object, or returns false if there is one of that name: of any number of callers, on
    // whatever machines, one gets true. Whole and durable on return; never visible in part. After
    // `unavailable` it may be there, and false may mean that an earlier attempt of ours arrived after all:
    // whoever has to know compares the content.
    [[nodiscard]] virtual bool put_exclusive(const std::string& key, Bytes content) = 0;

    // Reads exactly to.size() bytes from `offset`. ErrorKind::missing if there is no such object, damaged if
    // it is shorter.
    virtual void get(const std::string& key, uint64_t offset, std::span<std::byte> to) = 0;

    virtual uint64_t size_bytes(const std::string& key) = 0;  // ErrorKind::missing

    // Keys that begin with `prefix`, sorted. The prefix is "FOLDER/FOLDER/" with the beginning of a name
    // behind it or none. Objects that are being written may be among them.
    virtual std::vector<std::string> list(const std::string& prefix) = 0;

    // First components of all keys, sorted. For operators: some engines look at every object for it.
    virtual std::vector<std::string> folders() = 0;

    // Removes an object; one that is not there is no error.
    virtual void remove(const std::string& key) = 0;

    // Removes what writers that died have left of unfinished objects, other than objects that list() shows:
    // temporary files, parts of uploads. Only what is older than `age`, so that nobody's work is disturbed.
    virtual void remove_unfinished(const std::string& folder, std::chrono::seconds age) = 0;

    // For messages: the store's URL, without secrets.
    virtual const std::string& where() const = 0;
};

}  // namespace lagan::baseline
