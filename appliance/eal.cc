// SPDX-License-Identifier: BSD-3-Clause
#include "appliance/eal.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <rte_eal.h>
#include <rte_errno.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "appliance/size_text.h"

namespace lagan::appliance {

namespace {

constexpr uint64_t kMiB = 1ULL << 20;
constexpr uint64_t kHugePageBytes = 2 * kMiB;
constexpr const char* kHugePages = "/sys/kernel/mm/hugepages/hugepages-2048kB/";

uint64_t read_number(const char* file) {
    uint64_t value = 0;
    std::ifstream(std::string(kHugePages) + file) >> value;
    return value;
}

// DPDK's levels; its "info" is chatter to everybody else.
const char* dpdk_log_level(LogLevel level) {
    switch (level) {
        case LogLevel::error:
            return "*:error";
        case LogLevel::warning:
        case LogLevel::info:
            return "*:warning";
        case LogLevel::debug:
            return "*:info";
    }
    return "*:warning";
}

std::string lcore_map(const LcorePlan& plan) {
    std::string map = fmt::format("{}@{}", LcorePlan::kControlLcore, plan.control.number);
    for (const PollLcore& poller : plan.pollers)
        map += fmt::format(",{}@{}", poller.lcore, poller.cpu.number);
    return map;
}

const char* advice(int error) {
    switch (error) {
        case ENOMEM:
            return "too little memory: free some, or reserve more huge pages";
        case EACCES:
        case EPERM:
            return "a permission is missing: see docs/operations.md for what each kind of port needs";
        case ENODEV:
            return "a device is missing or refused its arguments: DPDK's lines above say which";
        case EALREADY:
            return "it was started before in this process";
        default:
            return "DPDK's lines above say more";
    }
}

}  // namespace

std::vector<std::string> eal_arguments(const EalRequest& request) {
    std::vector<std::string> arguments{"--lcores=" + lcore_map(request.lcores),
                                       fmt::format("--main-lcore={}", LcorePlan::kControlLcore),
                                       "--file-prefix=" + request.file_prefix,
                                       "--iova-mode=va",
                                       "--no-telemetry",
                                       fmt::format("--log-level={}", dpdk_log_level(request.log_level)),
                                       "-m",
                                       fmt::format("{}", (request.memory_bytes + kMiB - 1) / kMiB)};
    if (request.huge_pages) {
        arguments.emplace_back("--in-memory");
    } else {
        arguments.insert(arguments.end(), {"--no-huge", "--no-shconf"});
    }
    bool any_pci = false;
    for (const DeviceArguments& device : request.devices) {
        arguments.push_back(device.option);
        arguments.push_back(device.value);
        any_pci = any_pci || device.option == "-a";
    }
    if (!any_pci) arguments.emplace_back("--no-pci");
    return arguments;
}

HugePageRoom huge_page_room() {
    const uint64_t free = read_number("free_hugepages");
    const uint64_t reserved = read_number("resv_hugepages");
    const uint64_t allowed = read_number("nr_overcommit_hugepages");
    const uint64_t surplus = read_number("surplus_hugepages");
    const uint64_t ready = free > reserved ? free - reserved : 0;
    const uint64_t possible = ready + (allowed > surplus ? allowed - surplus : 0);
    return {ready * kHugePageBytes, possible * kHugePageBytes};
}

bool use_huge_pages(HugePages wanted, uint64_t memory_bytes, const HugePageRoom& room) {
    if (wanted == HugePages::off) return false;
    if (wanted == HugePages::automatic) return room.ready_bytes >= memory_bytes;
    if (room.possible_bytes >= memory_bytes) return true;
    const uint64_t missing = (memory_bytes - room.possible_bytes + kHugePageBytes - 1) / kHugePageBytes;
    throw std::runtime_error(
        fmt::format("memory.huge_pages = \"on\": DPDK needs {} of huge pages, {} can be had; run: echo {} > "
                    "{}nr_hugepages, or set it to \"auto\"",
                    format_size(memory_bytes), format_size(room.possible_bytes),
                    read_number("nr_hugepages") + missing, kHugePages));
}

void start_eal(const std::vector<std::string>& arguments) {
    // rte_eal_init() reorders the array and keeps pointers into the texts.
    static std::vector<std::string> texts;
    texts = arguments;
    texts.insert(texts.begin(), "lagand");
    std::vector<char*> argv;
    for (std::string& text : texts)
        argv.push_back(text.data());
    argv.push_back(nullptr);
    if (rte_eal_init(static_cast<int>(texts.size()), argv.data()) >= 0) return;
    const int error = rte_errno;
    throw std::runtime_error(fmt::format("DPDK does not start: {} ({}); its arguments were: {}",
                                         rte_strerror(error), advice(error), fmt::join(arguments, " ")));
}

void stop_eal() {
    const std::filesystem::path left_behind = rte_eal_get_runtime_dir();
    rte_eal_cleanup();
    std::error_code not_empty;
    std::filesystem::remove(left_behind, not_empty);
}

}  // namespace lagan::appliance
