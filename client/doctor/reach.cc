// SPDX-License-Identifier: BSD-3-Clause
#include "client/doctor/reach.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <stdexcept>

#include "client/doctor/rdma_devices.h"
#include "client/pager/descriptor.h"

namespace lagan::client::doctor {

using pager::Descriptor;

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr uint16_t kPings = 3;
constexpr milliseconds kPingTime{700};
constexpr uint8_t kEcho6Request = 128, kEcho6Reply = 129;  // RFC 4443

struct SocketAddress {
    sockaddr_storage storage{};
    socklen_t length = 0;
    int family = AF_UNSPEC;
    const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

SocketAddress to_socket_address(const net::IpAddress& address, uint16_t port) {
    SocketAddress result;
    if (address.is_ipv4()) {
        auto* in = reinterpret_cast<sockaddr_in*>(&result.storage);
        in->sin_family = AF_INET;
        in->sin_port = htons(port);
        std::memcpy(&in->sin_addr, address.ipv4(), sizeof in->sin_addr);
        result.length = sizeof *in;
    } else {
        auto* in = reinterpret_cast<sockaddr_in6*>(&result.storage);
        in->sin6_family = AF_INET6;
        in->sin6_port = htons(port);
        std::memcpy(&in->sin6_addr, address.bytes.data(), sizeof in->sin6_addr);
        result.length = sizeof *in;
    }
    result.family = result.storage.ss_family;
    return result;
}

uint16_t parse_port(const std::string& text, std::string_view digits) {
    uint16_t port = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (error != std::errc() || end != digits.data() + digits.size() || port == 0)
        throw std::invalid_argument("\"" + text + "\" does not end in a port from 1 to 65535");
    return port;
}

// The interface that has the address.
const Interface* interface_with(const Machine& machine, const net::IpAddress& address) {
    for (const Interface& interface : machine.interfaces) {
        if (std::find(interface.addresses.begin(), interface.addresses.end(), address) !=
            interface.addresses.end())
            return &interface;
    }
    return nullptr;
}

// For everybody where net.ipv4.ping_group_range permits, for root in any case.
class EchoSocket {
  public:
    explicit EchoSocket(int family)
        : v4_(family == AF_INET),
          protocol_(v4_ ? static_cast<int>(IPPROTO_ICMP) : static_cast<int>(IPPROTO_ICMPV6)),
          socket_(socket(family, SOCK_DGRAM | SOCK_CLOEXEC, protocol_)) {
        if (socket_) return;
        socket_ = Descriptor(socket(family, SOCK_RAW | SOCK_CLOEXEC, protocol_));
        raw_ = true;
    }

    explicit operator bool() const { return static_cast<bool>(socket_); }
    int get() const { return socket_.get(); }

    // Takes one packet that has come, and says whether it is the reply to `sequence`.
    bool got_reply(uint16_t sequence) const {
        std::array<uint8_t, 128> packet{};
        const ssize_t bytes = recv(socket_.get(), packet.data(), packet.size(), MSG_DONTWAIT);
        // Raw IPv4 comes with its IP header.
        const ssize_t header = raw_ && v4_ ? (packet[0] & 0xf) * 4 : 0;
        icmphdr reply{};
        if (bytes < header + static_cast<ssize_t>(sizeof reply)) return false;
        std::memcpy(&reply, packet.data() + header, sizeof reply);
        const bool ours = !raw_ || reply.un.echo.id == echo_id();
        return ours && reply.type == (v4_ ? ICMP_ECHOREPLY : kEcho6Reply) &&
               reply.un.echo.sequence == htons(sequence);
    }

    static uint16_t echo_id() { return htons(static_cast<uint16_t>(getpid())); }

  private:
    bool v4_;
    bool raw_ = false;
    int protocol_;
    Descriptor socket_;
};

// Of a header alone, without data. The kernel writes the checksum of IPv6 itself, and the identifier of
// sockets that are not raw.
icmphdr echo_request(bool v4, uint16_t sequence) {
    icmphdr request{};
    request.type = v4 ? uint8_t{ICMP_ECHO} : kEcho6Request;
    request.un.echo.id = EchoSocket::echo_id();
    request.un.echo.sequence = htons(sequence);
    if (v4) {
        uint32_t sum = uint32_t{ICMP_ECHO} << 8;
        sum += ntohs(request.un.echo.id);
        sum += sequence;
        request.checksum = htons(static_cast<uint16_t>(~(sum + (sum >> 16))));
    }
    return request;
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

std::optional<net::IpAddress> source_address(const Target& target) {
    const SocketAddress to = to_socket_address(target.address, 4791);
    const Descriptor udp(socket(to.family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
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

Ping ping(const Target& target) {
    const bool v4 = target.address.is_ipv4();
    const SocketAddress to = to_socket_address(target.address, 0);
    const EchoSocket echo(to.family);
    if (!echo) return Ping::not_permitted;
    for (uint16_t sequence = 1; sequence <= kPings; ++sequence) {
        const icmphdr request = echo_request(v4, sequence);
        if (sendto(echo.get(), &request, sizeof request, 0, to.get(), to.length) < 0) continue;
        // A raw socket hears what is for others as well.
        const auto deadline = Clock::now() + kPingTime;
        for (auto left = kPingTime; left.count() > 0;
             left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now())) {
            pollfd wait{echo.get(), POLLIN, 0};
            if (poll(&wait, 1, static_cast<int>(left.count())) > 0 && echo.got_reply(sequence))
                return Ping::answered;
        }
    }
    return Ping::silent;
}

void check_ping(const Target& target, Ping result, Findings& findings) {
    const std::string to = target.address.to_string();
    switch (result) {
        case Ping::answered:
            findings.ok("ping", to + " answers");
            return;
        case Ping::not_permitted:
            findings.skipped("ping",
                             "this user may not send pings (net.ipv4.ping_group_range); as root: ping " + to);
            return;
        case Ping::silent:
            findings.problem("ping", to + " does not answer, and an appliance would",
                             "on the appliance: lagan doctor --config /etc/lagan/lagand.toml\n"
                             "here: ip neighbor show " +
                                 to + "   # FAILED: another network, VLAN or cable");
            return;
    }
}

}  // namespace lagan::client::doctor
