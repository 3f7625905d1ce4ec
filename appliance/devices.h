// SPDX-License-Identifier: BSD-3-Clause
// From a configured port to DPDK's words for it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "appliance/options.h"

namespace lagan::appliance {

struct DeviceArguments {
    std::string option;  // of EAL: "--vdev" or "-a"
    std::string value;
    std::string name;  // what rte_eth_dev_get_port_by_name() takes
};

// `index` numbers the ports; `queues` is how many pairs of queues are used.
DeviceArguments device_arguments(const PortOptions& port, size_t index, uint32_t queues);

// Bytes that a receive mbuf needs behind its headroom for every port to take its largest frame in one piece.
uint32_t rx_room_bytes(const std::vector<PortOptions>& ports);

}  // namespace lagan::appliance
