// SPDX-License-Identifier: BSD-3-Clause
// The way to an appliance on another machine: which of our addresses leads there.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "client/doctor/findings.h"
#include "client/doctor/machine.h"
#include "datapath/net/address.h"

namespace lagan::client::doctor {

inline constexpr uint16_t kDefaultServicePort = 7471;

struct Target {
    net::IpAddress address;
    uint16_t service_port = kDefaultServicePort;
};

// "10.77.0.1", "10.77.0.1:7471", "fd00::1", "[fd00::1]:7471". Throws std::invalid_argument.
Target parse_target(const std::string& text);

// The address that packets to the target leave from, as the kernel's routes say; none: no route.
std::optional<net::IpAddress> source_address(const Target& target);

// From a known source: which interface, and whether RoCEv2 can go out there.
void check_route(const Machine& machine, const Target& target, const std::optional<net::IpAddress>& source,
                 Findings& findings);

// The interface of ours that has the address, or null.
const Interface* interface_with(const Machine& machine, const net::IpAddress& address);

}  // namespace lagan::client::doctor
