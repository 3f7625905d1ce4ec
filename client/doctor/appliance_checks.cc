// SPDX-License-Identifier: BSD-3-Clause
#include "client/doctor/appliance_checks.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
#include <sstream>

#include "appliance/eal.h"
#include "appliance/size_text.h"
#include "appliance/sizing.h"
#include "client/node_client.h"
#include "datapath/memory/file_room.h"

namespace lagan::client::doctor {

namespace fs = std::filesystem;
using appliance::format_size;
using appliance::HugePages;
using appliance::Options;

namespace {

constexpr uint64_t kHugePageBytes = uint64_t{2} << 20;
constexpr uint64_t kSomeHugePages = 1024;  // 2 GiB
constexpr const char* kHugePages = "/sys/kernel/mm/hugepages/hugepages-2048kB/";

fs::path existing(fs::path directory) {
    std::error_code ignored;
    while (!fs::exists(directory, ignored) && directory.has_relative_path())
        directory = directory.parent_path();
    return directory;
}

// What DPDK takes for packets, for the engines that this configuration leads to.
uint64_t packet_memory_bytes(const Options& options, uint64_t arena_bytes) {
    uint32_t engines = static_cast<uint32_t>(options.poll.lcores.size());
    for (const appliance::PortOptions& port : options.ports)
        engines = options.poll.lcores.empty() ? std::max(engines, port.queues) : engines;
    return appliance::eal_memory_bytes(appliance::size_engine(options, arena_bytes / 4096, engines), engines);
}

// The arena's, one cache line of metadata for each of its pages, and DPDK's.
uint64_t huge_pages_for(const Options& options, uint64_t arena_bytes) {
    const uint64_t bytes = arena_bytes + arena_bytes / 64 + packet_memory_bytes(options, arena_bytes);
    return (bytes + kHugePageBytes - 1) / kHugePageBytes;
}

bool has_hugetlbfs(const Machine& machine) {
    std::istringstream mounts(machine.text("/proc/mounts").value_or(""));
    for (std::string line; std::getline(mounts, line);) {
        std::istringstream words(line);
        std::string device, directory, type;
        if (words >> device >> directory >> type && type == "hugetlbfs") return true;
    }
    return false;
}

}  // namespace

std::optional<Options> check_configuration(const fs::path& file, const std::vector<std::string>& settings,
                                           Findings& findings) {
    try {
        Options options = appliance::load_options(file, settings);
        findings.ok("configuration", file.string() + " is good");
        return options;
    } catch (const appliance::OptionError& error) {
        findings.problem(
            "configuration", error.what(),
            fmt::format("$EDITOR {0} && lagand --config {0} --check-config   # docs/configuration.md has "
                        "all keys",
                        file.string()));
        return std::nullopt;
    }
}

bool check_running(const Options& options, Findings& findings) {
    const fs::path& socket = options.node.api_socket;
    try {
        const NodeReply reply = NodeClient(socket, std::chrono::seconds(5)).get("/v1/node");
        findings.ok("lagand", fmt::format("\"{}\" runs and answers at {}", reply.body.value("name", ""),
                                          socket.string()));
        return true;
    } catch (const std::exception&) {
        const bool closed = access(socket.c_str(), F_OK) == 0 && access(socket.c_str(), R_OK | W_OK) != 0;
        findings.skipped("lagand", closed ? fmt::format("only root, or who may use {}, sees whether one runs",
                                                        socket.string())
                                          : fmt::format("none answers at {}", socket.string()));
        return false;
    }
}

void check_lcores(const Options& options, const std::vector<appliance::Cpu>& cpus, Findings& findings) {
    appliance::LcoreRequest request{.poll_cpus = options.poll.lcores,
                                    .control_cpu = options.poll.control_cpu};
    for (const appliance::PortOptions& port : options.ports)
        request.max_pollers = std::max(request.max_pollers, port.queues);
    try {
        const appliance::LcorePlan plan = appliance::plan_lcores(cpus, request);
        std::string pollers;
        for (const appliance::PollLcore& poller : plan.pollers)
            pollers += fmt::format("{}{}", pollers.empty() ? "" : ", ", poller.cpu.number);
        const bool shared = std::any_of(
            plan.pollers.begin(), plan.pollers.end(),
            [&](const appliance::PollLcore& poller) { return poller.cpu.number == plan.control.number; });
        if (shared) {
            findings.warning(
                "lcores",
                fmt::format("CPU {} polls and runs the control thread as well", plan.control.number),
                "give lagand two CPUs: taskset -c 0,1 lagand ..., or CPUAffinity= in lagand.service");
        } else {
            findings.ok("lcores", fmt::format("CPU {} polls, CPU {} runs the control thread", pollers,
                                              plan.control.number));
        }
    } catch (const std::exception& error) {
        findings.problem("lcores", error.what(),
                         "lscpu --extended   # then poll.lcores and poll.control_cpu in lagand.toml");
    }
}

void check_memory(const Options& options, Findings& findings) {
    const char* const mend =
        options.memory.huge_pages == HugePages::on
            ? "memory.huge_pages = \"auto\" in lagand.toml, or huge pages: see below"
            : "free -h; df -h /dev/shm   # then a smaller memory.size in lagand.toml, or: sudo mount -o "
              "remount,size=90% /dev/shm";
    try {
        const appliance::ArenaPlan plan = appliance::plan_arena(options);
        appliance::use_huge_pages(options.memory.huge_pages, packet_memory_bytes(options, plan.frame_bytes),
                                  appliance::huge_page_room());
        const uint64_t room = memory::obtainable_bytes(existing(plan.directory));
        if (plan.frame_bytes > room) {
            findings.problem("memory",
                             fmt::format("{} are wanted, {} has room for {}", format_size(plan.frame_bytes),
                                         plan.directory.string(), format_size(room)),
                             mend);
        } else if (access(existing(plan.directory).c_str(), W_OK) != 0) {
            findings.problem("memory",
                             fmt::format("this user may not write to {}", existing(plan.directory).string()),
                             fmt::format("sudo install -d -o $(id -un) {}", plan.directory.string()));
        } else {
            findings.ok("memory", fmt::format("{} at {} ({})", format_size(plan.frame_bytes),
                                              plan.directory.string(), plan.reason));
        }
    } catch (const std::exception& error) {
        findings.problem("memory", error.what(), mend);
    }
}

void check_huge_pages(const Machine& machine, const Options& options, Findings& findings) {
    const char* const check = "huge pages";
    if (options.memory.huge_pages == HugePages::off) {
        findings.skipped(check, "memory.huge_pages is \"off\"");
        return;
    }
    const uint64_t free = machine.number(std::string(kHugePages) + "free_hugepages");
    const uint64_t all = machine.number(std::string(kHugePages) + "nr_hugepages");
    // Of "auto", whatever there is; then a number to begin with.
    const uint64_t wanted = options.memory.size_bytes ? huge_pages_for(options, *options.memory.size_bytes)
                                                      : std::max(free, kSomeHugePages);
    const bool must = options.memory.huge_pages == HugePages::on;
    const Verdict verdict = must ? Verdict::problem : Verdict::warning;
    if (free < wanted) {
        findings.add(
            verdict, check,
            fmt::format("{} of 2 MiB are free, {} are wanted{}", free, wanted,
                        must ? "" : ": without, it works and is slower"),
            fmt::format("echo {} | sudo tee {}nr_hugepages   # early after boot, before memory fragments",
                        all + wanted - free, kHugePages));
    } else if (!has_hugetlbfs(machine)) {
        findings.add(
            verdict, check, "no hugetlbfs is mounted to take them from",
            "sudo mkdir -p /dev/hugepages && sudo mount -t hugetlbfs -o pagesize=2M none /dev/hugepages");
    } else {
        findings.ok(check, fmt::format("{} of 2 MiB are free", free));
    }
}

void check_state_dir(const Machine& machine, const Options& options, Findings& findings) {
    const char* const check = "state_dir";
    const std::string directory = options.node.state_dir.string();
    struct stat status {};
    if (stat(machine.at(directory).c_str(), &status) != 0) {
        fs::path parent = options.node.state_dir;
        while (!machine.exists(parent) && parent.has_relative_path())
            parent = parent.parent_path();
        if (machine.may(parent, W_OK | X_OK)) {
            findings.ok(check, directory + " will be made at the first start");
        } else {
            findings.problem(
                check, fmt::format("this user cannot make {}", directory),
                fmt::format("sudo install -d -m 700 -o $(id -un) {}   # or start lagand as root", directory));
        }
    } else if (!S_ISDIR(status.st_mode)) {
        findings.problem(check, directory + " is no directory",
                         fmt::format("sudo mv {0} {0}.old", directory));
    } else if (!machine.may(directory, R_OK | W_OK | X_OK)) {
        findings.problem(
            check, "this user may not write to " + directory,
            fmt::format("sudo chown -R $(id -un) {}   # or start lagand as its owner", directory));
    } else if ((status.st_mode & 077) != 0) {
        findings.warning(check,
                         fmt::format("{} is open to others, and holds the key that signs grants", directory),
                         fmt::format("sudo chmod 700 {}", directory));
    } else {
        findings.ok(check, directory + " is there, for its owner alone");
    }
}

}  // namespace lagan::client::doctor
