// SPDX-License-Identifier: BSD-3-Clause
// Faults below the baseline code: an ObjectStore whose operations fail, and system calls that do.
#pragma once

#include <cerrno>
#include <functional>
#include <limits>
#include <mutex>
#include <random>

#include "mgmt/baseline/file_calls.h"
#include "mgmt/baseline/object_store.h"

namespace lagan::test {

// What happens to one operation that changes the store.
enum class Fault { none, before, after, partly };  // partly: a put leaves half of the object

class FaultyStore final : public baseline::ObjectStore {
  public:
    using Bytes = baseline::Bytes;
    explicit FaultyStore(ObjectStore& store) : store_(store) {}

    std::function<Fault()> decide = [] { return Fault::none; };
    std::function<bool()> reads_fail = [] { return false; };
    baseline::ErrorKind kind = baseline::ErrorKind::unavailable;

    void put(const std::string& key, std::span<const Bytes> content) override {
        change([&] { store_.put(key, content); },
               [&] {
                   const Bytes first = content.front();
                   store_.put(key, std::vector<Bytes>{first.first(first.size() / 2)});
               });
    }
    bool put_exclusive(const std::string& key, Bytes content) override {
        bool made = false;
        change([&] { made = store_.put_exclusive(key, content); }, [] {});
        return made;
    }
    void remove(const std::string& key) override {
        change([&] { store_.remove(key); }, [] {});
    }
    void get(const std::string& key, uint64_t offset, std::span<std::byte> to) override {
        read();
        store_.get(key, offset, to);
    }
    uint64_t size_bytes(const std::string& key) override {
        read();
        return store_.size_bytes(key);
    }
    std::vector<std::string> list(const std::string& prefix) override {
        read();
        return store_.list(prefix);
    }
    std::vector<std::string> folders() override { return store_.folders(); }
    void remove_unfinished(const std::string& folder, std::chrono::seconds age) override {
        store_.remove_unfinished(folder, age);
    }
    const std::string& where() const override { return store_.where(); }

  private:
    void fail() const { throw baseline::StoreError(kind, "made to fail"); }
    void read() const {
        if (reads_fail()) fail();
    }
    template <typename Whole, typename Part>
    void change(const Whole& whole, const Part& part) {
        const Fault fault = decide();
        if (fault == Fault::partly) part();
        if (fault == Fault::none || fault == Fault::after) whole();
        if (fault != Fault::none) fail();
    }

    ObjectStore& store_;
};

// System calls of which the `fail_at`-th (from 0) fails with `error`, or all from there on; writes may be
// short.
class FaultyCalls : public baseline::FileCalls {
  public:
    uint64_t calls = 0;
    uint64_t fail_at = std::numeric_limits<uint64_t>::max();
    int error = EIO;
    bool all_after = false;
    std::mt19937_64* short_by = nullptr;  // random lengths and interruptions

    ssize_t pwritev(int fd, const iovec* pieces, int count, off_t offset) override {
        if (fails()) return -1;
        if (short_by == nullptr) return FileCalls::pwritev(fd, pieces, count, offset);
        if ((*short_by)() % 4 == 0) return errno = EINTR, -1;
        iovec first = pieces[0];
        first.iov_len = 1 + (*short_by)() % first.iov_len;
        return FileCalls::pwritev(fd, &first, 1, offset);
    }
    ssize_t pread(int fd, void* to, size_t bytes, off_t offset) override {
        if (short_by == nullptr) return FileCalls::pread(fd, to, bytes, offset);
        if ((*short_by)() % 4 == 0) return errno = EINTR, -1;
        return FileCalls::pread(fd, to, 1 + (*short_by)() % bytes, offset);
    }
    int fallocate(int fd, off_t bytes) override { return fails() ? -1 : FileCalls::fallocate(fd, bytes); }
    int fsync(int fd) override { return fails() ? -1 : FileCalls::fsync(fd); }
    int link(int folder, const char* from, const char* to) override {
        return fails() ? -1 : FileCalls::link(folder, from, to);
    }

  private:
    bool fails() {
        const uint64_t call = calls++;
        if (call != fail_at && !(all_after && call > fail_at)) return false;
        errno = error;
        return true;
    }
};

}  // namespace lagan::test
