// SPDX-License-Identifier: BSD-3-Clause
// A disk that loses at a power cut what was not synced, and for good what a failed fsync was to write: later
// ones succeed without it, as Linux's do.
#pragma once

#include <sys/stat.h>

#include <filesystem>
#include <map>
#include <set>
#include <string>

#include "tests/unit/faulty_store.h"

namespace lagan::test {

// For one thread, with all that is written below one directory, on a file system that uses no inode number
// twice (tmpfs).
class PowerCut final : public FaultyCalls {
  public:
    explicit PowerCut(std::filesystem::path root) : root_(std::filesystem::canonical(root)) {}

    bool fail_folder_syncs = false;

    ssize_t pwritev(int fd, const iovec* pieces, int count, off_t offset) override {
        const ssize_t written = FaultyCalls::pwritev(fd, pieces, count, offset);
        if (written > 0) files_[inode_of(fd)].unsynced += static_cast<uint64_t>(written);
        return written;
    }
    int fsync(int fd) override {
        struct stat info {};
        if (fstat(fd, &info) != 0) return -1;
        if (!S_ISDIR(info.st_mode)) {
            const int result = FaultyCalls::fsync(fd);
            File& file = files_[info.st_ino];
            (result == 0 ? file.synced : file.lost) += file.unsynced;
            file.unsynced = 0;
            return result;
        }
        int result = FaultyCalls::fsync(fd);
        if (fail_folder_syncs) result = (errno = EIO, -1);
        for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd/" + std::to_string(fd))) {
            const ino_t inode = inode_of(entry.path());
            if (!durable_.contains(inode) && !lost_.contains(inode))
                (result == 0 ? durable_ : lost_).insert(inode);
        }
        return result;
    }

    void cut() { cut(root_); }

  private:
    struct File {
        uint64_t unsynced = 0, synced = 0, lost = 0;  // bytes
    };

    static ino_t inode_of(int fd) {
        struct stat info {};
        return fstat(fd, &info) == 0 ? info.st_ino : 0;
    }
    static ino_t inode_of(const std::filesystem::path& path) {
        struct stat info {};
        return lstat(path.c_str(), &info) == 0 ? info.st_ino : 0;
    }
    void cut(const std::filesystem::path& folder) {
        std::set<std::filesystem::path> gone;
        for (const auto& entry : std::filesystem::directory_iterator(folder)) {
            const ino_t inode = inode_of(entry.path());
            if (!durable_.contains(inode))
                gone.insert(entry.path());
            else if (entry.is_directory())
                cut(entry.path());
            else if (files_[inode].unsynced + files_[inode].lost != 0)
                std::filesystem::resize_file(entry.path(), 0);
        }
        for (const std::filesystem::path& path : gone)
            std::filesystem::remove_all(path);
    }

    const std::filesystem::path root_;
    std::map<ino_t, File> files_;
    std::set<ino_t> durable_, lost_;  // entries of folders: by what they name
};

}  // namespace lagan::test
