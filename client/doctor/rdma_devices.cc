// SPDX-License-Identifier: BSD-3-Clause
#include "client/doctor/rdma_devices.h"

#include <algorithm>

namespace lagan::client::doctor {

static const std::string kDevices = "/sys/class/infiniband/";

// Entries of the table that are not in use cannot be read, or are zero.
static std::vector<Gid> read_gids(const Machine& machine, const std::string& port) {
    std::vector<Gid> gids;
    for (const std::string& index : machine.list(port + "/gids")) {
        const auto text = machine.text(port + "/gids/" + index);
        const auto type = machine.text(port + "/gid_attrs/types/" + index);
        if (!text || !type || text->empty()) continue;
        try {
            const net::IpAddress address = net::IpAddress::parse(*text);
            if (address == net::IpAddress{}) continue;
            gids.push_back({address, *type == "RoCE v2"});
        } catch (const std::invalid_argument&) {
            continue;
        }
    }
    return gids;
}

static std::string read_netdev(const Machine& machine, const std::string& port) {
    for (const std::string& index : machine.list(port + "/gid_attrs/ndevs")) {
        const std::string name = machine.text(port + "/gid_attrs/ndevs/" + index).value_or("");
        if (!name.empty()) return name;
    }
    return {};
}

std::vector<RdmaPort> rdma_ports(const Machine& machine) {
    std::vector<RdmaPort> ports;
    for (const std::string& device : machine.list(kDevices)) {
        for (const std::string& number : machine.list(kDevices + device + "/ports")) {
            const std::string path = kDevices + device + "/ports/" + number;
            const std::string state = machine.text(path + "/state").value_or("");  // "4: ACTIVE"
            const size_t colon = state.find(": ");
            ports.push_back({.device = device,
                             .number = number,
                             .state = colon == std::string::npos ? state : state.substr(colon + 2),
                             .netdev = read_netdev(machine, path),
                             .gids = read_gids(machine, path)});
            // Soft-RoCE names its interface even when its table of GIDs is empty.
            if (ports.back().netdev.empty())
                ports.back().netdev = machine.text(kDevices + device + "/parent").value_or("");
        }
    }
    return ports;
}

bool RdmaPort::has_rocev2_gid(const net::IpAddress& address) const {
    return std::any_of(gids.begin(), gids.end(),
                       [&](const Gid& gid) { return gid.rocev2 && gid.address == address; });
}

unsigned path_mtu(unsigned interface_mtu_bytes) {
    constexpr unsigned kHeaders = 96;  // what Linux sets aside for the headers of any RoCE packet
    for (const unsigned mtu : {4096U, 2048U, 1024U, 512U, 256U}) {
        if (mtu + kHeaders <= interface_mtu_bytes) return mtu;
    }
    return 0;
}

}  // namespace lagan::client::doctor
