// SPDX-License-Identifier: BSD-3-Clause
// Starting DPDK's environment with the arguments that our configuration amounts to.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "appliance/devices.h"
#include "appliance/lcore_plan.h"
#include "appliance/options.h"

namespace lagan::appliance {

struct EalRequest {
    const LcorePlan& lcores;
    std::vector<DeviceArguments> devices;
    uint64_t memory_bytes = 0;  // for mbufs, rings and drivers
    bool huge_pages = false;
    std::string file_prefix;  // of EAL's directory, which stays empty
    LogLevel log_level = LogLevel::info;
};

// What to put behind the program's name.
std::vector<std::string> eal_arguments(const EalRequest& request);

// Huge pages of 2 MiB that can be had, in bytes. Sure are those that lie ready; the kernel may make more when
// they are asked for (vm.nr_overcommit_hugepages), if it finds the memory.
struct HugePageRoom {
    uint64_t ready_bytes;
    uint64_t possible_bytes;  // the ready ones included
};
HugePageRoom huge_page_room();

// Whether EAL's memory goes on huge pages: "auto" takes ready ones only, "on" tries. Throws
// std::runtime_error when they were asked for and are not there.
bool use_huge_pages(HugePages wanted, uint64_t memory_bytes, const HugePageRoom& room);

// Calls rte_eal_init(); from then on the calling thread is the main lcore and bound to its CPU. Throws
// std::runtime_error with what to do. stop_eal() undoes it.
void start_eal(const std::vector<std::string>& arguments);
void stop_eal();

}  // namespace lagan::appliance
