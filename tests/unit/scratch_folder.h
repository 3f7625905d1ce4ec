// SPDX-License-Identifier: BSD-3-Clause
// A folder of the case's own on tmpfs, gone at the end.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <string>

namespace lagan::test {

struct ScratchFolder {
    ScratchFolder() {
        static int count = 0;
        path = "/dev/shm/lagan_test." + std::to_string(getpid()) + "." + std::to_string(++count);
        std::filesystem::create_directory(path);
    }
    ~ScratchFolder() { std::filesystem::remove_all(path); }
    ScratchFolder(const ScratchFolder&) = delete;
    ScratchFolder& operator=(const ScratchFolder&) = delete;

    std::filesystem::path path;
};

}  // namespace lagan::test
