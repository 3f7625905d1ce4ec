// SPDX-License-Identifier: BSD-3-Clause
// Counts heap allocations of the whole process, those of shared libraries included, and of DPDK's heap.
#pragma once

#include <cstdint>

namespace lagan::perf {

// malloc, calloc, realloc, memalign and their kin (operator new is one of them).
uint64_t heap_allocations();

// Live objects on DPDK's heap of socket 0.
uint64_t dpdk_objects();

}  // namespace lagan::perf
