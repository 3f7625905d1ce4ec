// SPDX-License-Identifier: BSD-3-Clause
// The allocator's functions, defined in the executable, stand before glibc's for every shared library; glibc
// keeps its own under names of theirs.
#include "tests/perf/allocation_count.h"

#include <rte_malloc.h>

#include <atomic>
#include <cerrno>
#include <cstddef>

static std::atomic<uint64_t> allocations{0};

static void count() {
    allocations.fetch_add(1, std::memory_order_relaxed);
}

extern "C" {

void* __libc_malloc(size_t bytes);
void* __libc_calloc(size_t count, size_t bytes);
void* __libc_realloc(void* old, size_t bytes);
void* __libc_memalign(size_t alignment, size_t bytes);

void* malloc(size_t bytes) {
    count();
    return __libc_malloc(bytes);
}
void* calloc(size_t items, size_t bytes) {
    count();
    return __libc_calloc(items, bytes);
}
void* realloc(void* old, size_t bytes) {
    count();
    return __libc_realloc(old, bytes);
}
void* memalign(size_t alignment, size_t bytes) {
    count();
    return __libc_memalign(alignment, bytes);
}
void* aligned_alloc(size_t alignment, size_t bytes) {
    return memalign(alignment, bytes);
}
int posix_memalign(void** out, size_t alignment, size_t bytes) {
    void* memory = memalign(alignment, bytes);
    if (memory == nullptr) return ENOMEM;
    *out = memory;
    return 0;
}

}  // extern "C"

namespace lagan::perf {

uint64_t heap_allocations() {
    return allocations.load(std::memory_order_relaxed);
}

uint64_t dpdk_objects() {
    rte_malloc_socket_stats stats{};
    rte_malloc_get_socket_stats(0, &stats);
    return stats.alloc_count;
}

}  // namespace lagan::perf
