// SPDX-License-Identifier: BSD-3-Clause
// Which CPUs poll and which one runs the control thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace lagan::appliance {

// A hardware thread that this process may run on.
struct Cpu {
    unsigned number;  // the kernel's
    unsigned core;    // physical core; CPUs of equal `core` share one
    int numa_node;
};

// By hwloc: the machine's CPUs within this process's affinity mask and cpuset. Throws std::runtime_error.
std::vector<Cpu> usable_cpus();

// The same of a topology in hwloc's synthetic notation ("node:2 core:4 pu:2"), without a mask; for tests.
std::vector<Cpu> synthetic_cpus(const std::string& description);

struct LcoreRequest {
    std::vector<unsigned> poll_cpus;      // empty: choose
    std::optional<unsigned> control_cpu;  // empty: choose
    unsigned max_pollers = 1;             // when choosing: more would find no queue to poll
    std::vector<int> port_nodes;          // NUMA nodes of the ports; -1: unknown or none
};

struct PollLcore {
    unsigned lcore;  // EAL's number: 1 and up
    Cpu cpu;
};

struct LcorePlan {
    static constexpr unsigned kControlLcore = 0;
    Cpu control;
    std::vector<PollLcore> pollers;  // at least one
};

// Choosing takes one CPU per physical core, the ports' NUMA nodes and the highest numbers first, and leaves
// the control thread a core of its own while there are two. Throws std::runtime_error, naming the option, if
// a CPU asked for may not be used.
LcorePlan plan_lcores(const std::vector<Cpu>& cpus, const LcoreRequest& request);

// One line per thread, for people; with a remark where threads share a CPU or a core.
std::vector<std::string> describe(const LcorePlan& plan);

}  // namespace lagan::appliance
