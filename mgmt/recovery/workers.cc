// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/recovery/workers.h"

#include <algorithm>

namespace lagan::recovery {

namespace {

constexpr size_t kLeastThreads = 4;

cpu_set_t set_of(const std::vector<unsigned>& cpus) {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (const unsigned cpu : cpus)
        CPU_SET(cpu, &set);
    return set;
}

thread_local cpu_set_t own_cpus;  // while the thread is in an arena

}  // namespace

void Workers::Pinning::on_scheduler_entry(bool) {
    sched_getaffinity(0, sizeof own_cpus, &own_cpus);
    sched_setaffinity(0, sizeof cpus_, &cpus_);
}

void Workers::Pinning::on_scheduler_exit(bool) {
    sched_setaffinity(0, sizeof own_cpus, &own_cpus);
}

Workers::Workers(const std::vector<unsigned>& cpus)
    : threads_(tbb::global_control::max_allowed_parallelism,
               std::max({kLeastThreads, cpus.size(),
                         tbb::global_control::active_value(tbb::global_control::max_allowed_parallelism)})),
      arena_(static_cast<int>(std::max(kLeastThreads, cpus.size()))),
      pinning_(arena_, set_of(cpus)) {}

}  // namespace lagan::recovery
