// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/memory/file_room.h"

#include <linux/magic.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <limits>
#include <string>
#include <system_error>

namespace lagan::memory {

namespace {

struct statfs file_system(const std::filesystem::path& path) {
    struct statfs info {};
    if (statfs(path.c_str(), &info) != 0)
        throw std::system_error(errno, std::generic_category(), "arena: statfs " + path.string());
    return info;
}

uint64_t number_in(const std::string& path) {
    uint64_t value = 0;
    std::ifstream(path) >> value;
    return value;
}

enum class HugePages { ready, obtainable };

// Pages that nobody has reserved, and, if asked for, those that the kernel may still make. statfs() of a
// hugetlbfs mount without size= says nothing.
uint64_t free_huge_bytes(const struct statfs& info, HugePages which) {
    const auto page = static_cast<uint64_t>(info.f_bsize);
    const std::string dir = "/sys/kernel/mm/hugepages/hugepages-" + std::to_string(page / 1024) + "kB/";
    const uint64_t free = number_in(dir + "free_hugepages");
    const uint64_t reserved = number_in(dir + "resv_hugepages");
    uint64_t pages = free > reserved ? free - reserved : 0;
    if (which == HugePages::obtainable) {
        const uint64_t allowed = number_in(dir + "nr_overcommit_hugepages");
        const uint64_t surplus = number_in(dir + "surplus_hugepages");
        if (allowed > surplus) pages += allowed - surplus;
    }
    if (info.f_blocks > 0) pages = std::min(pages, static_cast<uint64_t>(info.f_bavail));
    return pages * page;
}

// Without the last sixteenth: taking that too would drive the machine into reclaim, or its OOM killer into
// us.
uint64_t available_memory() {
    std::ifstream meminfo("/proc/meminfo");
    for (std::string line; std::getline(meminfo, line);) {
        unsigned long long kib = 0;
        if (std::sscanf(line.c_str(), "MemAvailable: %llu kB", &kib) == 1) return kib * 1024 / 16 * 15;
    }
    return std::numeric_limits<uint64_t>::max();
}

}  // namespace

uint64_t huge_page_bytes(const std::filesystem::path& path) {
    const struct statfs info = file_system(path);
    return info.f_type == HUGETLBFS_MAGIC ? static_cast<uint64_t>(info.f_bsize) : 0;
}

static uint64_t room(const std::filesystem::path& path, HugePages which) {
    const struct statfs info = file_system(path);
    if (info.f_type == HUGETLBFS_MAGIC) return free_huge_bytes(info, which);
    const uint64_t space = static_cast<uint64_t>(info.f_bavail) * static_cast<uint64_t>(info.f_bsize);
    return info.f_type == TMPFS_MAGIC ? std::min(space, available_memory()) : space;
}

uint64_t free_bytes(const std::filesystem::path& path) {
    return room(path, HugePages::ready);
}

uint64_t obtainable_bytes(const std::filesystem::path& path) {
    return room(path, HugePages::obtainable);
}

}  // namespace lagan::memory
