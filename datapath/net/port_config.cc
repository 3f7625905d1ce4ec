// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/net/port_config.h"

#include <algorithm>

namespace lagan::net {

bool PortConfig::has_address(const IpAddress& ip) const {
    return std::any_of(addresses.begin(), addresses.end(),
                       [&](const IpPrefix& own) { return own.address == ip; });
}

bool PortConfig::on_link(const IpAddress& ip) const {
    return std::any_of(addresses.begin(), addresses.end(),
                       [&](const IpPrefix& own) { return own.contains(ip); });
}

const IpAddress* PortConfig::source_for(const IpAddress& remote) const {
    const IpAddress* same_family = nullptr;
    for (const IpPrefix& own : addresses) {
        if (own.contains(remote)) return &own.address;
        if (same_family == nullptr && own.address.is_ipv4() == remote.is_ipv4()) same_family = &own.address;
    }
    return same_family;
}

const PortConfig* find_port(const std::vector<PortConfig>& ports, uint16_t port_id) {
    const auto found =
        std::find_if(ports.begin(), ports.end(), [&](const PortConfig& p) { return p.port_id == port_id; });
    return found == ports.end() ? nullptr : &*found;
}

}  // namespace lagan::net
