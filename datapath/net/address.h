// SPDX-License-Identifier: BSD-3-Clause
// IP addresses and the addresses of a connection.
#pragma once

#include <rte_ether.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace lagan::net {

// IPv6, or IPv4 mapped into it (::ffff:a.b.c.d), network byte order: what a RoCE GID is.
struct IpAddress {
    std::array<uint8_t, 16> bytes{};

    bool is_ipv4() const;
    const uint8_t* ipv4() const { return bytes.data() + 12; }
    bool operator==(const IpAddress&) const = default;
    bool operator<(const IpAddress& other) const { return bytes < other.bytes; }

    static IpAddress from_ipv4(const uint8_t* four_bytes);
    static IpAddress from_ipv6(const uint8_t* sixteen_bytes);
    // "10.0.0.1" or "fe80::1". Throws std::invalid_argument that quotes the text.
    static IpAddress parse(std::string_view text);
    std::string to_string() const;
};

// An address with its prefix length ("10.77.0.1/24"). parse() throws std::invalid_argument.
struct IpPrefix {
    IpAddress address;
    uint8_t length;  // 0..32 or 0..128
    static IpPrefix parse(std::string_view text);
    bool contains(const IpAddress& other) const;
};

// Both ends of a RoCE connection as one side sees them.
struct Path {
    uint16_t port_id = 0;  // ethdev
    rte_ether_addr local_mac{};
    rte_ether_addr remote_mac{};
    IpAddress local_ip;
    IpAddress remote_ip;
    uint16_t udp_source_port = 0xc000;
    uint16_t vlan = 0;  // 802.1Q tag (PCP, DEI, VID); 0: untagged
};

}  // namespace lagan::net
