// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/recovery/workers.h"

#include <algorithm>

namespace lagan::recovery {

namespace {

cpu_set_t set_of(const std::vector<unsigned>& cpus) {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (const unsigned cpu : cpus)
        CPU_SET(cpu, &set);
    return set;
}

}  // namespace

Workers::Workers(const std::vector<unsigned>& cpus)
    : arena_(std::max(2, static_cast<int>(cpus.size()))), pinning_(arena_, set_of(cpus)) {}

}  // namespace lagan::recovery
