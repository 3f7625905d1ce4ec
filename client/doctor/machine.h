// SPDX-License-Identifier: BSD-3-Clause
// The machine as the checks see it: files below a root (tests give a made-up tree), and what only system
// calls tell, asked once.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "datapath/net/address.h"

namespace lagan::client::doctor {

struct Interface {
    std::string name;
    unsigned mtu_bytes = 0;
    bool up = false;
    std::vector<net::IpAddress> addresses;
};

enum class Userfault : uint8_t {
    usable,
    too_old,         // it cannot write-protect shared memory
    user_mode_only,  // system calls that touch far memory would fail
    denied,
    missing,  // the kernel has none
};

struct Machine {
    std::filesystem::path root = "/";
    std::vector<Interface> interfaces;  // of this network namespace; /sys may show another's
    Userfault userfault = Userfault::missing;
    uint64_t memlock_bytes = 0;  // RLIMIT_MEMLOCK, UINT64_MAX: none
    bool superuser = false;

    // Asks the system. Throws std::system_error.
    static Machine this_one();

    std::filesystem::path at(const std::filesystem::path& path) const { return root / path.relative_path(); }
    bool exists(const std::filesystem::path& path) const;
    // For this user; `mode` as access(2) has it.
    bool may(const std::filesystem::path& path, int mode) const;
    // Without white space at both ends; nothing if it cannot be read.
    std::optional<std::string> text(const std::filesystem::path& path) const;
    uint64_t number(const std::filesystem::path& path) const;  // 0 if it cannot be read
    // Names in a directory, sorted; none if it cannot be read.
    std::vector<std::string> list(const std::filesystem::path& path) const;
    // The last part of what a symbolic link points to; empty if there is none.
    std::string link_name(const std::filesystem::path& path) const;

    const Interface* interface(const std::string& name) const;
    bool has_capability(unsigned number) const;  // effective, as capability.h numbers them
    std::string kernel() const;                  // "6.1.0-18-amd64"
};

}  // namespace lagan::client::doctor
