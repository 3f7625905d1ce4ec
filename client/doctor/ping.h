// SPDX-License-Identifier: BSD-3-Clause
// Whether the appliance answers at all, and whether packets as large as RoCEv2's come through.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>

#include "client/doctor/findings.h"
#include "datapath/net/address.h"

namespace lagan::client::doctor {

enum class Ping : uint8_t { answered, silent, not_permitted };

// An ICMP echo, three times until one is answered, 3 s at most. `packet_bytes`: the size of the IP
// packet, which nobody on the way may fragment; 0: the smallest.
Ping ping(const net::IpAddress& address, uint32_t packet_bytes = 0);

void check_ping(const net::IpAddress& address, Ping result, Findings& findings);

// The IP packet that a RoCE path MTU needs.
uint32_t largest_packet_bytes(const net::IpAddress& address, unsigned path_mtu);

// `result`: of a ping of that size.
void check_path(const net::IpAddress& address, unsigned path_mtu, const std::string& interface, Ping result,
                Findings& findings);

struct SocketAddress {
    sockaddr_storage storage{};
    socklen_t length = 0;
    const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
    int family() const { return storage.ss_family; }
};
SocketAddress to_socket_address(const net::IpAddress& address, uint16_t port);

}  // namespace lagan::client::doctor
