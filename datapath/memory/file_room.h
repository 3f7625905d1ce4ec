// SPDX-License-Identifier: BSD-3-Clause
// What a file system that the arena could use has to give.
#pragma once

#include <cstdint>
#include <filesystem>

namespace lagan::memory {

// 0 when the file system at `path` is not hugetlbfs, else its page size in bytes. Throws std::system_error.
uint64_t huge_page_bytes(const std::filesystem::path& path);

// Bytes that files there can still get: free huge pages that nobody has reserved, or free space, on tmpfs no
// more than 15/16 of the memory that the machine has available. A memory cgroup's limit is not looked at.
// Throws std::system_error.
uint64_t free_bytes(const std::filesystem::path& path);

// The same, and huge pages that the kernel may make when they are asked for (vm.nr_overcommit_hugepages): it
// can still find no memory for them then.
uint64_t obtainable_bytes(const std::filesystem::path& path);

}  // namespace lagan::memory
