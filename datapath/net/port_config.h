// SPDX-License-Identifier: BSD-3-Clause
// What an ethdev port answers to. Written once at start-up, read by the control thread.
#pragma once

#include <rte_ether.h>

#include <cstdint>
#include <vector>

#include "datapath/net/address.h"

namespace lagan::net {

struct PortConfig {
    uint16_t port_id = 0;
    rte_ether_addr mac{};
    std::vector<IpPrefix> addresses;
    uint16_t mtu = 1500;  // bytes of IP packet

    bool has_address(const IpAddress& ip) const;
    // Within the prefix of one of our addresses.
    bool on_link(const IpAddress& ip) const;
    // The address to speak from to `remote`: one whose prefix holds it, else the first of its family, else
    // null.
    const IpAddress* source_for(const IpAddress& remote) const;
};

// The port of that number, or null.
const PortConfig* find_port(const std::vector<PortConfig>& ports, uint16_t port_id);

}  // namespace lagan::net
