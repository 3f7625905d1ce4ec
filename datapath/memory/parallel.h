// SPDX-License-Identifier: BSD-3-Clause
// Start-up work over large memory, spread over the processors that this thread may use.
#pragma once

#include <cstddef>
#include <functional>

namespace lagan::memory {

// Calls work(begin, end) for consecutive slices of [0, count), each a multiple of `grain` long but the last,
// on as many threads as the calling thread has processors (an EAL thread has one: large memory is best
// prepared before rte_eal_init). Returns when all are done; the first exception of a slice is thrown again
// here.
void parallel_slices(size_t count, size_t grain, const std::function<void(size_t begin, size_t end)>& work);

}  // namespace lagan::memory
