// SPDX-License-Identifier: BSD-3-Clause
#include "appliance/lcore_plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <hwloc.h>

#include <algorithm>
#include <memory>
#include <stdexcept>

namespace lagan::appliance {

namespace {

struct TopologyDeleter {
    void operator()(hwloc_topology* topology) const { hwloc_topology_destroy(topology); }
};
using Topology = std::unique_ptr<hwloc_topology, TopologyDeleter>;

struct BitmapDeleter {
    void operator()(hwloc_bitmap_s* bitmap) const { hwloc_bitmap_free(bitmap); }
};
using Bitmap = std::unique_ptr<hwloc_bitmap_s, BitmapDeleter>;

Topology make_topology() {
    hwloc_topology_t topology = nullptr;
    if (hwloc_topology_init(&topology) != 0) throw std::runtime_error("hwloc cannot start");
    return Topology(topology);
}

std::vector<Cpu> list_cpus(hwloc_topology_t topology, hwloc_const_bitmap_t allowed) {
    std::vector<Cpu> cpus;
    for (hwloc_obj_t unit = nullptr;
         (unit = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_PU, unit)) != nullptr;) {
        if (hwloc_bitmap_isset(allowed, unit->os_index) == 0) continue;
        const hwloc_obj_t core = hwloc_get_ancestor_obj_by_type(topology, HWLOC_OBJ_CORE, unit);
        cpus.push_back({.number = unit->os_index,
                        .core = core != nullptr ? core->logical_index : unit->logical_index,
                        .numa_node = hwloc_bitmap_first(unit->nodeset)});
    }
    std::sort(cpus.begin(), cpus.end(), [](const Cpu& a, const Cpu& b) { return a.number < b.number; });
    return cpus;
}

const Cpu& require_cpu(const std::vector<Cpu>& cpus, unsigned number, const char* option) {
    const auto found =
        std::find_if(cpus.begin(), cpus.end(), [=](const Cpu& cpu) { return cpu.number == number; });
    if (found != cpus.end()) return *found;
    std::vector<unsigned> numbers;
    for (const Cpu& cpu : cpus)
        numbers.push_back(cpu.number);
    throw std::runtime_error(
        fmt::format("{}: CPU {} is not one that lagand may use here (those are {}); change the option, or "
                    "the process's CPU affinity",
                    option, number, fmt::join(numbers, ", ")));
}

bool contains(const std::vector<Cpu>& cpus, unsigned number) {
    return std::any_of(cpus.begin(), cpus.end(), [=](const Cpu& cpu) { return cpu.number == number; });
}

bool core_taken(const std::vector<Cpu>& taken, unsigned core) {
    return std::any_of(taken.begin(), taken.end(), [=](const Cpu& cpu) { return cpu.core == core; });
}

// The lowest-numbered CPU on a core that nobody polls on, else one that nobody polls on, else the lowest of
// all.
Cpu choose_control(const std::vector<Cpu>& cpus, const std::vector<Cpu>& pollers) {
    for (const Cpu& cpu : cpus) {
        if (!core_taken(pollers, cpu.core)) return cpu;
    }
    for (const Cpu& cpu : cpus) {
        if (!contains(pollers, cpu.number)) return cpu;
    }
    return cpus.front();
}

std::vector<Cpu> choose_pollers(const std::vector<Cpu>& cpus, const Cpu& control,
                                const LcoreRequest& request) {
    std::vector<Cpu> first_of_core;
    for (const Cpu& cpu : cpus) {
        if (cpu.core != control.core && !core_taken(first_of_core, cpu.core)) first_of_core.push_back(cpu);
    }
    if (first_of_core.empty()) {  // a single core: its last other CPU, or the only one there is
        const auto other = std::find_if(cpus.rbegin(), cpus.rend(),
                                        [&](const Cpu& cpu) { return cpu.number != control.number; });
        return {other != cpus.rend() ? *other : control};
    }
    const auto near_a_port = [&request](const Cpu& cpu) {
        return std::find(request.port_nodes.begin(), request.port_nodes.end(), cpu.numa_node) !=
               request.port_nodes.end();
    };
    std::sort(first_of_core.begin(), first_of_core.end(), [&](const Cpu& a, const Cpu& b) {
        if (near_a_port(a) != near_a_port(b)) return near_a_port(a);
        return a.number > b.number;
    });
    first_of_core.resize(std::min<size_t>(first_of_core.size(), std::max(1U, request.max_pollers)));
    std::sort(first_of_core.begin(), first_of_core.end(),
              [](const Cpu& a, const Cpu& b) { return a.number < b.number; });
    return first_of_core;
}

std::string remark(const LcorePlan& plan, const Cpu& cpu, unsigned lcore) {
    const auto relation = [&cpu](const Cpu& other) -> const char* {
        if (other.number == cpu.number) return "its CPU";
        return other.core == cpu.core ? "its core" : nullptr;
    };
    if (lcore != LcorePlan::kControlLcore) {
        if (const char* shared = relation(plan.control))
            return fmt::format(", shares {} with the control thread", shared);
    }
    for (const PollLcore& other : plan.pollers) {
        const char* shared = relation(other.cpu);
        if (other.lcore != lcore && shared != nullptr)
            return fmt::format(", shares {} with lcore {}", shared, other.lcore);
    }
    return "";
}

}  // namespace

std::vector<Cpu> usable_cpus() {
    const Topology topology = make_topology();
    const Bitmap allowed(hwloc_bitmap_alloc());
    if (!allowed || hwloc_topology_load(topology.get()) != 0)
        throw std::runtime_error("hwloc cannot read this machine's topology");
    if (hwloc_get_cpubind(topology.get(), allowed.get(), HWLOC_CPUBIND_PROCESS) != 0) {
        hwloc_bitmap_copy(allowed.get(), hwloc_topology_get_allowed_cpuset(topology.get()));
    }
    auto cpus = list_cpus(topology.get(), allowed.get());
    if (cpus.empty()) throw std::runtime_error("hwloc finds no CPU that this process may use");
    return cpus;
}

std::vector<Cpu> synthetic_cpus(const std::string& description) {
    const Topology topology = make_topology();
    if (hwloc_topology_set_synthetic(topology.get(), description.c_str()) != 0 ||
        hwloc_topology_load(topology.get()) != 0) {
        throw std::runtime_error("hwloc does not take the synthetic topology \"" + description + "\"");
    }
    return list_cpus(topology.get(), hwloc_topology_get_topology_cpuset(topology.get()));
}

LcorePlan plan_lcores(const std::vector<Cpu>& cpus, const LcoreRequest& request) {
    std::vector<Cpu> pollers;
    for (const unsigned number : request.poll_cpus)
        pollers.push_back(require_cpu(cpus, number, "poll.lcores"));

    LcorePlan plan{};
    plan.control = request.control_cpu ? require_cpu(cpus, *request.control_cpu, "poll.control_cpu")
                                       : choose_control(cpus, pollers);
    if (pollers.empty()) pollers = choose_pollers(cpus, plan.control, request);
    for (const Cpu& cpu : pollers)
        plan.pollers.push_back({static_cast<unsigned>(plan.pollers.size()) + 1, cpu});
    return plan;
}

std::vector<std::string> describe(const LcorePlan& plan) {
    std::vector<std::string> lines;
    for (const PollLcore& poller : plan.pollers) {
        lines.push_back(fmt::format("lcore {} polls on CPU {} (core {}, NUMA node {}{})", poller.lcore,
                                    poller.cpu.number, poller.cpu.core, poller.cpu.numa_node,
                                    remark(plan, poller.cpu, poller.lcore)));
    }
    lines.push_back(fmt::format("control thread on CPU {} (core {}, NUMA node {}{})", plan.control.number,
                                plan.control.core, plan.control.numa_node,
                                remark(plan, plan.control, LcorePlan::kControlLcore)));
    return lines;
}

}  // namespace lagan::appliance
