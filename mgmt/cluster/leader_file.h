// SPDX-License-Identifier: BSD-3-Clause
// Leadership among processes of one machine: a small file, read and written under flock(2). Its times are of
// the machine's own clock since boot, which nobody sets; after a reboot nobody leads. It is never synced: a
// disk that stalls must not cost a leader its place.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>

namespace lagan::cluster {

class LeaderFile {
  public:
    explicit LeaderFile(std::filesystem::path file) : file_(std::move(file)) {}

    // As in directory.h. Any thread; throw DirectoryError.
    bool campaign(const std::string& candidate, std::chrono::milliseconds ttl);
    std::string leader();
    void resign(const std::string& candidate);

  private:
    const std::filesystem::path file_;
};

}  // namespace lagan::cluster
