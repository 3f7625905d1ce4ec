// SPDX-License-Identifier: BSD-3-Clause
// liblagan_preload.so: gives the program that `lagan run` starts a heap in far memory.
//
// Which processes: the one that `lagan run` started, through any chain of exec (the new image attaches anew;
// the old image's pages are gone). Processes that it starts itself (fork and exec, posix_spawn) keep their
// heaps in local memory. A child that forks and does not exec has no far mapping: it is ended with a line
// that says so when it touches its heap.
//
// What is far: all that malloc and its relatives give out after this constructor has run. What was allocated
// before, and jemalloc's own metadata, stay local.
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "client/pager/attach_message.h"
#include "client/preload/extent_hooks.h"
#include "client/preload/far_mapping.h"
#include "client/preload/forked_child.h"

namespace {

using lagan::client::preload::die;
using lagan::client::preload::FarMapping;

FarMapping far_mapping;

uint64_t number_from_environment(const char* name) {
    const char* text = getenv(name);
    if (!text || *text < '0' || *text > '9') return 0;
    char* end = nullptr;
    const uint64_t value = strtoull(text, &end, 10);
    return *end == '\0' ? value : 0;
}

[[gnu::constructor]] void attach() {
    const char* socket_path = getenv(lagan::client::pager::kSocketVariable);
    if (!socket_path) return;
    if (number_from_environment(lagan::client::pager::kProgramVariable) != static_cast<uint64_t>(getpid()))
        return;
    const uint64_t bytes = number_from_environment(lagan::client::pager::kRegionVariable);
    if (bytes == 0 || bytes % 4096 != 0) die("LAGAN_REGION_BYTES is not a number of pages");
    far_mapping.make(socket_path, bytes);
    lagan::client::preload::watch_forked_children(far_mapping);
    lagan::client::preload::install_extent_hooks(far_mapping);
}

}  // namespace

// A program that discards a part of its heap expects zeros there, as on anonymous memory.
extern "C" [[gnu::visibility("default")]] int madvise(void* address, size_t size, int advice) noexcept {
    if (far_mapping.contains(address)) {
        if (advice == MADV_FREE) return 0;  // permitted to do nothing
        if (advice == MADV_DONTNEED) advice = MADV_REMOVE;
        if (advice == MADV_DOFORK || advice == MADV_HUGEPAGE) {
            errno = EINVAL;
            return -1;
        }
    }
    return static_cast<int>(syscall(SYS_madvise, address, size, advice));
}

// The pager knows a page by its address: moved ones would lose what they hold, and a move onto far memory
// would take it away. Refused as if there were no room, which programs answer by copying.
extern "C" [[gnu::visibility("default")]] void* mremap(void* address, size_t size, size_t new_size, int flags,
                                                       ...) noexcept {
    va_list more;
    va_start(more, flags);
    void* target = (flags & MREMAP_FIXED) != 0 ? va_arg(more, void*) : nullptr;
    va_end(more);
    if (far_mapping.contains(address) || far_mapping.overlaps(target, new_size)) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return reinterpret_cast<void*>(syscall(SYS_mremap, address, size, new_size, flags, target));
}
