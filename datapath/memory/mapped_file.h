// SPDX-License-Identifier: BSD-3-Clause
// A file of the arena as memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <utility>

namespace lagan::memory {

// An open file, closed on destruction. Move-only.
class FileDescriptor {
  public:
    FileDescriptor() = default;
    explicit FileDescriptor(int fd) : fd_(fd) {}
    ~FileDescriptor();
    FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    FileDescriptor& operator=(FileDescriptor&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    int get() const { return fd_; }

  private:
    int fd_ = -1;
};

// A shared file mapping; unmapped on destruction, the file stays. Move-only.
//
// The memory is committed and mapped before the constructor returns: a file system that fills up later cannot
// turn a store into SIGBUS, and the poll loop takes no page faults.
class MappedFile {
  public:
    // Called by several threads, after each part of the memory that is committed.
    using Progress = std::function<void(uint64_t bytes_done, uint64_t bytes)>;

    MappedFile() = default;
    // Creates `path` (which must not exist) with `bytes` rounded up to the file system's page, mode 0600.
    // Throws std::system_error naming the file; then there is no file.
    MappedFile(const std::filesystem::path& path, uint64_t bytes, const Progress& progress = {});
    // Maps a file that is there and has at least `bytes` (its size is rounded up as above). Read-only
    // mappings are not populated. Throws std::system_error naming the file; std::runtime_error when it is too
    // short.
    enum class Access { read_only, read_write };
    static MappedFile open(const std::filesystem::path& path, uint64_t bytes, Access access,
                           const Progress& progress = {});
    ~MappedFile();
    MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
    MappedFile& operator=(MappedFile&& other) noexcept {
        std::swap(bytes_, other.bytes_);
        return *this;
    }
    std::span<std::byte> bytes() const { return bytes_; }

  private:
    std::span<std::byte> bytes_;
};

}  // namespace lagan::memory
