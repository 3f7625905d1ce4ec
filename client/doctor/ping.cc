// SPDX-License-Identifier: BSD-3-Clause
#include "client/doctor/ping.h"

#include <fmt/format.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <string>
#include <vector>

#include "client/pager/descriptor.h"

namespace lagan::client::doctor {

using pager::Descriptor;

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr uint16_t kPings = 3;
constexpr milliseconds kPingTime{1000};
constexpr uint8_t kEcho6Request = 128, kEcho6Reply = 129;  // RFC 4443

// For everybody where net.ipv4.ping_group_range permits, for root in any case.
class EchoSocket {
  public:
    explicit EchoSocket(int family)
        : v4_(family == AF_INET),
          protocol_(v4_ ? static_cast<int>(IPPROTO_ICMP) : static_cast<int>(IPPROTO_ICMPV6)),
          socket_(socket(family, SOCK_DGRAM | SOCK_CLOEXEC, protocol_)) {
        if (!socket_) {
            socket_ = Descriptor(socket(family, SOCK_RAW | SOCK_CLOEXEC, protocol_));
            raw_ = true;
        }
        // Whole or not at all, whatever the kernel has learned of the path before.
        const int probe = v4_ ? IP_PMTUDISC_PROBE : IPV6_PMTUDISC_PROBE;
        setsockopt(socket_.get(), v4_ ? static_cast<int>(IPPROTO_IP) : static_cast<int>(IPPROTO_IPV6),
                   v4_ ? IP_MTU_DISCOVER : IPV6_MTU_DISCOVER, &probe, sizeof probe);
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

// The kernel writes the checksum of IPv6 itself, and the identifier of
// sockets that are not raw.
// Zeros behind the header leave the checksum as it is.
std::vector<uint8_t> echo_request(bool v4, uint16_t sequence, size_t bytes) {
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
    std::vector<uint8_t> packet(std::max(bytes, sizeof request));
    std::memcpy(packet.data(), &request, sizeof request);
    return packet;
}

}  // namespace

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
    return result;
}

Ping ping(const net::IpAddress& address, uint32_t packet_bytes) {
    const bool v4 = address.is_ipv4();
    const SocketAddress to = to_socket_address(address, 0);
    const EchoSocket echo(to.family());
    if (!echo) return Ping::not_permitted;
    const uint32_t ip_header = v4 ? 20 : 40;
    const size_t bytes = packet_bytes > ip_header ? packet_bytes - ip_header : 0;
    for (uint16_t sequence = 1; sequence <= kPings; ++sequence) {
        const std::vector<uint8_t> request = echo_request(v4, sequence, bytes);
        if (sendto(echo.get(), request.data(), request.size(), 0, to.get(), to.length) < 0) continue;
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

void check_ping(const net::IpAddress& address, Ping result, Findings& findings) {
    const std::string to = address.to_string();
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

uint32_t largest_packet_bytes(const net::IpAddress& address, unsigned path_mtu) {
    // IP, UDP, BTH, RETH, immediate, ICRC.
    return path_mtu + (address.is_ipv4() ? 20U : 40U) + 8 + 12 + 16 + 4 + 4;
}

void check_path(const net::IpAddress& address, unsigned path_mtu, const std::string& interface, Ping result,
                Findings& findings) {
    const std::string packets = fmt::format("packets of {} bytes, for a path MTU of {},",
                                            largest_packet_bytes(address, path_mtu), path_mtu);
    if (result == Ping::answered) {
        findings.ok("path", packets + " come through");
    } else {
        findings.problem(
            "path", fmt::format("{} are lost on the way to {}", packets, address.to_string()),
            fmt::format(
                "a larger MTU on every switch and for the appliance's port; or a smaller one here: sudo "
                "ip link set dev {} mtu 1500",
                interface));
    }
}

}  // namespace lagan::client::doctor
