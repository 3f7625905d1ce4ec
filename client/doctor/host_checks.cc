// SPDX-License-Identifier: BSD-3-Clause
#include "client/doctor/host_checks.h"

#include <fmt/format.h>
#include <linux/capability.h>

#include <algorithm>
#include <array>
#include <sstream>

#include "appliance/size_text.h"

namespace lagan::client::doctor {

namespace {

// What DPDK's packages, and our code with them, are compiled for (-march=corei7), as /proc/cpuinfo spells it.
constexpr std::array kRequiredFlags = {"ssse3", "sse4_1", "sse4_2", "popcnt"};
constexpr const char* kMendProcessor =
    "in a virtual machine: give it the host's CPU model (QEMU: -cpu host, or at least -cpu Westmere)";

// What `lagan run` registers by default: local memory and buffers.
constexpr uint64_t kMemlockBytes = uint64_t{128} << 20;

std::vector<std::string> processor_flags(const Machine& machine) {
    std::istringstream lines(machine.text("/proc/cpuinfo").value_or(""));
    for (std::string line; std::getline(lines, line);) {
        if (!line.starts_with("flags")) continue;
        std::istringstream words(line.substr(std::min(line.find(':') + 1, line.size())));
        std::vector<std::string> flags;
        for (std::string word; words >> word;)
            flags.push_back(word);
        return flags;
    }
    return {};
}

// Under a filter of system calls (a container's), no privilege helps.
bool has_seccomp_filter(const Machine& machine) {
    return machine.text("/proc/self/status").value_or("").find("Seccomp:\t2") != std::string::npos;
}

std::string mend_userfaultfd(const Machine& machine) {
    if (has_seccomp_filter(machine)) {
        return "this process runs under a seccomp filter; of docker: docker run --cap-add SYS_PTRACE "
               "--security-opt seccomp=unconfined ...";
    }
    std::string mend = "sudo sysctl -w vm.unprivileged_userfaultfd=1";
    if (machine.exists("/dev/userfaultfd"))
        mend += "\nor, for this user alone: sudo setfacl -m u:$(id -un):rw /dev/userfaultfd";
    return mend;
}

}  // namespace

void check_processor(const Machine& machine, Findings& findings) {
    const std::vector<std::string> flags = processor_flags(machine);
    if (flags.empty()) {
        findings.skipped("cpu", "/proc/cpuinfo does not say what the CPU can do");
        return;
    }
    const auto has = [&](const char* flag) {
        return std::find(flags.begin(), flags.end(), flag) != flags.end();
    };
    std::string missing;
    for (const char* flag : kRequiredFlags) {
        if (!has(flag)) missing += (missing.empty() ? "" : ", ") + std::string(flag);
    }
    if (!missing.empty()) {
        findings.problem("cpu", "lacks " + missing + ", which Lagan and DPDK are compiled for",
                         kMendProcessor);
    } else if (!has("pclmulqdq")) {
        findings.warning("cpu", "lacks pclmulqdq: the checksum of every packet is computed slowly",
                         kMendProcessor);
    } else {
        findings.ok("cpu", has("vpclmulqdq") && has("avx2") ? "has SSE4.2, and VPCLMULQDQ for checksums"
                                                            : "has SSE4.2, and PCLMULQDQ for checksums");
    }
}

void check_userfaultfd(const Machine& machine, Findings& findings) {
    const char* const check = "userfaultfd";
    switch (machine.userfault) {
        case Userfault::usable:
            findings.ok(check, "is permitted, with write protection of shared memory");
            return;
        case Userfault::too_old:
            findings.problem(
                check,
                fmt::format("Linux {} cannot write-protect shared memory by userfaultfd", machine.kernel()),
                "install Linux 5.19 or later; Debian 12 has 6.1");
            return;
        case Userfault::user_mode_only:
            findings.problem(
                check,
                "this user may only see faults of programs themselves, not those of system calls "
                "such as read() into far memory",
                mend_userfaultfd(machine));
            return;
        case Userfault::denied:
            findings.problem(check, "this user may not use it", mend_userfaultfd(machine));
            return;
        case Userfault::missing:
            findings.problem(check, fmt::format("Linux {} was built without it", machine.kernel()),
                             "boot a kernel with CONFIG_USERFAULTFD=y, such as Debian's: "
                             "sudo apt-get install linux-image-amd64");
            return;
    }
}

void check_preload(const Machine& machine, const std::string& preload, const std::string& missing,
                   Findings& findings) {
    const char* const check = "libraries";
    if (preload.empty()) {
        findings.problem(check, missing,
                         "build or install all of Lagan: ninja -C build && ninja -C build install");
        return;
    }
    for (const char* directory : {"/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/local/lib",
                                  "/usr/lib64", "/lib64", "/usr/lib"}) {
        if (!machine.exists(std::string(directory) + "/libjemalloc.so.2")) continue;
        findings.ok(check, "lagan run loads " + preload + " and libjemalloc.so.2");
        return;
    }
    findings.problem(check, "libjemalloc.so.2, which lagan run loads into programs, is not installed",
                     "sudo apt-get install libjemalloc2");
}

void check_memlock(const Machine& machine, Findings& findings) {
    const char* const check = "memlock";
    if (machine.list("/sys/class/infiniband").empty()) {
        findings.skipped(check, "matters only with an RDMA device, whose memory stays in place");
    } else if (machine.has_capability(CAP_IPC_LOCK)) {
        findings.ok(check, "this user's memory for RDMA has no limit (CAP_IPC_LOCK)");
    } else if (machine.memlock_bytes == UINT64_MAX) {
        findings.ok(check, "memory for RDMA has no limit");
    } else if (machine.memlock_bytes >= kMemlockBytes) {
        findings.ok(check, "up to " + appliance::format_size(machine.memlock_bytes) + " of memory for RDMA");
    } else {
        findings.problem(
            check,
            fmt::format("only {} of memory may be locked, and an RDMA device locks what it works on",
                        appliance::format_size(machine.memlock_bytes)),
            "for this shell: sudo prlimit --pid $$ --memlock=unlimited\n"
            "for good: echo \"$(id -un) - memlock unlimited\" | sudo tee "
            "/etc/security/limits.d/lagan.conf   # and log in again");
    }
}

}  // namespace lagan::client::doctor
