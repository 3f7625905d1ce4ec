// SPDX-License-Identifier: BSD-3-Clause
// A port on an interface that the kernel keeps, by DPDK's af_packet driver.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace lagan::net {

// As the kernel says it.
struct KernelInterface {
    bool up = false;
    uint32_t mtu = 0;
};

// Nothing: there is none of this name in this network namespace.
std::optional<KernelInterface> find_interface(const std::string& name);

// Of a slot of the driver's ring. An mbuf to receive into needs as much room.
uint32_t af_packet_slot_bytes(uint32_t mtu_bytes);

// The device's arguments behind its name.
std::string af_packet_arguments(const std::string& interface, uint32_t queues, uint32_t mtu_bytes);

}  // namespace lagan::net
