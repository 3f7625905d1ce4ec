// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/memory/parallel.h"

#include <sched.h>

#include <algorithm>
#include <exception>
#include <thread>
#include <vector>

namespace lagan::memory {

namespace {

size_t usable_processors() {
    cpu_set_t set;
    CPU_ZERO(&set);
    // Fails only on machines with more processors than the set has bits: then ask how many there are at all.
    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return std::max(1U, std::thread::hardware_concurrency());
    return static_cast<size_t>(std::max(1, CPU_COUNT(&set)));
}

}  // namespace

void parallel_slices(size_t count, size_t grain, const std::function<void(size_t, size_t)>& work) {
    const size_t grains = (count + grain - 1) / grain;
    const size_t slices = std::min(usable_processors(), grains);
    if (slices <= 1) {
        if (count != 0) work(0, count);
        return;
    }
    const size_t slice = (grains + slices - 1) / slices * grain;
    std::vector<std::exception_ptr> errors(slices);
    {
        std::vector<std::jthread> threads;
        for (size_t i = 0; i < slices; ++i) {
            threads.emplace_back([&, i] {
                const size_t begin = std::min(count, i * slice);
                const size_t end = std::min(count, begin + slice);
                try {
                    if (begin < end) work(begin, end);
                } catch (...) {
                    errors[i] = std::current_exception();
                }
            });
        }
    }
    for (const std::exception_ptr& error : errors)
        if (error) std::rethrow_exception(error);
}

}  // namespace lagan::memory
