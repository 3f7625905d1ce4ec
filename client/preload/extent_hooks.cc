// SPDX-License-Identifier: BSD-3-Clause
#include "client/preload/extent_hooks.h"

#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "client/preload/far_mapping.h"

// jemalloc's public interface (jemalloc(3), "arena.<i>.extent_hooks"), declared here because its header would
// make the whole library a link-time dependency. Weak: whether the program has it shows at run time.
extern "C" {
struct extent_hooks_s;
typedef struct extent_hooks_s extent_hooks_t;
struct extent_hooks_s {
    void* (*alloc)(extent_hooks_t*, void* new_addr, size_t size, size_t alignment, bool* zero, bool* commit,
                   unsigned arena);
    bool (*dalloc)(extent_hooks_t*, void*, size_t, bool, unsigned);
    void (*destroy)(extent_hooks_t*, void*, size_t, bool, unsigned);
    bool (*commit)(extent_hooks_t*, void*, size_t, size_t, size_t, unsigned);
    bool (*decommit)(extent_hooks_t*, void*, size_t, size_t, size_t, unsigned);
    bool (*purge_lazy)(extent_hooks_t*, void*, size_t, size_t, size_t, unsigned);
    bool (*purge_forced)(extent_hooks_t*, void*, size_t, size_t, size_t, unsigned);
    bool (*split)(extent_hooks_t*, void*, size_t, size_t, size_t, bool, unsigned);
    bool (*merge)(extent_hooks_t*, void*, size_t, void*, size_t, bool, unsigned);
};
[[gnu::weak]] int mallctl(const char* name, void* old_value, size_t* old_length, void* new_value,
                          size_t new_length);
}

namespace lagan::client::preload {

namespace {

FarMapping* far_mapping = nullptr;

// Hooks return false for success, except alloc.

void* allocate(extent_hooks_t*, void* at, size_t size, size_t alignment, bool* zero, bool* commit, unsigned) {
    void* address = far_mapping->take(at, size, alignment);
    if (!address) return nullptr;
    *zero = true;
    *commit = true;
    return address;
}

// Refused: jemalloc keeps the range for later (after purge_forced) and joins it with its neighbours.
bool keep(extent_hooks_t*, void*, size_t, bool, unsigned) {
    return true;
}

// Also called for what jemalloc mapped itself before it had these hooks.
bool purge(extent_hooks_t*, void* address, size_t, size_t offset, size_t length, unsigned) {
    void* start = static_cast<char*>(address) + offset;
    if (far_mapping->contains(start)) return !FarMapping::release(start, length);
    return syscall(SYS_madvise, start, length, MADV_DONTNEED) != 0;
}

bool split(extent_hooks_t*, void*, size_t, size_t, size_t, bool, unsigned) {
    return false;
}

// Far memory does not join local memory that happens to lie beside it.
bool merge(extent_hooks_t*, void* a, size_t, void* b, size_t, bool, unsigned) {
    return far_mapping->contains(a) != far_mapping->contains(b);
}

extent_hooks_t hooks = {
    .alloc = allocate,
    .dalloc = keep,
    .destroy = nullptr,
    .commit = nullptr,
    .decommit = nullptr,
    .purge_lazy = nullptr,
    .purge_forced = purge,
    .split = split,
    .merge = merge,
};

}  // namespace

void install_extent_hooks(FarMapping& mapping) {
    if (!mallctl) die("libjemalloc.so.2 is not loaded: install it (Debian: libjemalloc2)");
    far_mapping = &mapping;
    extent_hooks_t* ours = &hooks;
    // `lagan run` sets narenas:1, so that arena 0 is the only one that threads are given.
    if (mallctl("arena.0.extent_hooks", nullptr, nullptr, &ours, sizeof ours) != 0) {
        die("jemalloc does not take extent hooks: version 5 or later is needed");
    }
}

}  // namespace lagan::client::preload
