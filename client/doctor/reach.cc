// SPDX-License-Identifier: BSD-3-Clause
#include "client/doctor/reach.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <charconv>
#include <stdexcept>

#include "client/doctor/ping.h"
#include "client/doctor/rdma_devices.h"
#include "client/pager/descriptor.h"

namespace lagan::client::doctor {

using pager::Descriptor;

namespace {

uint16_t parse_port(const std::string& text, std::string_view digits) {
    uint16_t port = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (error != std::errc() || end != digits.data() + digits.size() || port == 0)
        throw std::invalid_argument("\"" + text + "\" does not end in a port from 1 to 65535");
    return port;
}

}  // namespace

Target parse_target(const std::string& text) {
    if (text.starts_with('[')) {
        const size_t end = text.find(']');
        if (end == std::string::npos)
            throw std::invalid_argument("\"" + text + "\" lacks the closing bracket");
        Target target{.address = net::IpAddress::parse(text.substr(1, end - 1))};
        if (end + 1 == text.size()) return target;
        if (text[end + 1] != ':')
            throw std::invalid_argument("\"" + text + "\" has no colon behind the bracket");
        target.service_port = parse_port(text, std::string_view(text).substr(end + 2));
        return target;
    }
    const size_t colon = text.find(':');
    if (colon == std::string::npos || text.find(':', colon + 1) != std::string::npos)
        return {.address = net::IpAddress::parse(text)};
    return {.address = net::IpAddress::parse(text.substr(0, colon)),
            .service_port = parse_port(text, std::string_view(text).substr(colon + 1))};
}

const Interface* interface_with(const Machine& machine, const net::IpAddress& address) {
    for (const Interface& interface : machine.interfaces) {
        if (std::find(interface.addresses.begin(), interface.addresses.end(), address) !=
            interface.addresses.end())
            return &interface;
    }
    return nullptr;
}

std::optional<net::IpAddress> source_address(const Target& target) {
    const SocketAddress to = to_socket_address(target.address, 4791);
    const Descriptor udp(socket(to.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!udp || connect(udp.get(), to.get(), to.length) != 0) return std::nullopt;
    sockaddr_storage own{};
    socklen_t length = sizeof own;
    if (getsockname(udp.get(), reinterpret_cast<sockaddr*>(&own), &length) != 0) return std::nullopt;
    if (own.ss_family == AF_INET6)
        return net::IpAddress::from_ipv6(reinterpret_cast<const sockaddr_in6*>(&own)->sin6_addr.s6_addr);
    return net::IpAddress::from_ipv4(
        reinterpret_cast<const uint8_t*>(&reinterpret_cast<const sockaddr_in*>(&own)->sin_addr));
}

void check_route(const Machine& machine, const Target& target, const std::optional<net::IpAddress>& source,
                 Findings& findings) {
    const std::string to = target.address.to_string();
    if (!source) {
        findings.problem("route", "there is no route to " + to,
                         "ip route get " + to +
                             "   # says why; an address in the appliance's network makes a route: "
                             "sudo ip address add ADDRESS/LENGTH dev INTERFACE");
        return;
    }
    const Interface* interface = interface_with(machine, *source);
    const std::string name = interface != nullptr ? interface->name : "an unknown interface";
    const auto ports = rdma_ports(machine);
    // By its GID and not by its interface, which may be a VLAN's. Missing GIDs and devices are
    // check_rdma()'s.
    const auto port = std::find_if(ports.begin(), ports.end(), [&](const RdmaPort& candidate) {
        return candidate.has_rocev2_gid(*source) || candidate.netdev == name;
    });
    if (port != ports.end() || ports.empty()) {
        findings.ok("route", fmt::format("to {} from {} by {}{}", to, source->to_string(), name,
                                         ports.empty() ? "" : ", which is " + port->device));
        return;
    }
    std::string mend =
        fmt::format("sudo modprobe rdma_rxe && sudo rdma link add rxe_{0} type rxe netdev {0}", name);
    mend += fmt::format("\nor lead the way over {}: sudo ip route add {} dev {}", ports.front().device, to,
                        ports.front().netdev);
    findings.problem(
        "route", fmt::format("to {} from {} by {}, which has no RDMA device", to, source->to_string(), name),
        mend);
}

}  // namespace lagan::client::doctor
