// SPDX-License-Identifier: BSD-3-Clause
// Where to listen or connect to by TCP.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace lagan::http {

struct TcpAddress {
    std::string host;  // an address without brackets; to connect to: a name, too
    uint16_t port = 0;

    bool operator==(const TcpAddress&) const = default;
};

// "192.0.2.1:443", "[::1]:443"; with `names`, "host.example:443" as well. Nothing: it is none of these.
std::optional<TcpAddress> parse_tcp_address(std::string_view text, bool names = false);
std::string to_string(const TcpAddress& address);  // with brackets where they belong

// Of numbers, not names.
bool is_loopback(const TcpAddress& address);

}  // namespace lagan::http
