// SPDX-License-Identifier: BSD-3-Clause
// The program's far mapping: made once, before main(), and handed to the pager. Nothing here calls malloc,
// because it runs inside the allocator's own hooks.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lagan::client::preload {

class FarMapping {
  public:
    // Makes the mapping and its userfaultfd, and gives both to the pager at `socket_path`. A failure ends the
    // program with one line that says what to do.
    void make(const char* socket_path, uint64_t bytes);

    bool contains(const void* address) const {
        const auto offset = reinterpret_cast<uintptr_t>(address) - base_;
        return offset < bytes_;
    }
    // Null overlaps nothing.
    bool overlaps(const void* address, size_t bytes) const {
        const auto start = reinterpret_cast<uintptr_t>(address);
        return start != 0 && start < base_ + bytes_ && base_ < start + bytes;
    }
    // Never used before, so full of zeros. `at`: only there, or null. Null when the mapping is used up.
    // Thread-safe. Nothing is given back here: the allocator keeps what it has had, and the pages behind it
    // are given up by release().
    void* take(void* at, size_t size, size_t alignment);

    // The pages have no content any more: they read as zeros, and take no memory here or at the appliance.
    static bool release(void* address, size_t size);

  private:
    uintptr_t base_ = 0;
    size_t bytes_ = 0;
    size_t used_ = 0;  // atomic
};

// One line on standard error, then exit.
[[noreturn]] void die(const char* message);

}  // namespace lagan::client::preload
