// SPDX-License-Identifier: BSD-3-Clause
// RDMA devices of this machine as /sys/class/infiniband shows them, and what RoCEv2 needs of them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "client/doctor/findings.h"
#include "client/doctor/machine.h"
#include "datapath/net/address.h"

namespace lagan::client::doctor {

struct Gid {
    net::IpAddress address;
    bool rocev2;
};

struct RdmaPort {
    std::string device;  // "mlx5_0", "rxe0"
    std::string number;  // "1"
    std::string state;   // "ACTIVE"
    std::string netdev;  // empty: none, as of InfiniBand proper
    std::vector<Gid> gids;

    bool has_rocev2_gid(const net::IpAddress& address) const;
};

std::vector<RdmaPort> rdma_ports(const Machine& machine);

// The largest RoCE path MTU that Linux uses on an interface of that MTU; 0: none fits.
unsigned path_mtu(unsigned interface_mtu_bytes);

// All of them at once. `needed`: there is no way to the appliance but RDMA, so that what is missing is a
// problem and not just a warning.
void check_rdma(const Machine& machine, bool needed, Findings& findings);

}  // namespace lagan::client::doctor
