// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/http/tcp_address.h"

#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <charconv>

namespace lagan::http {

namespace {

constexpr size_t kMaxName = 253;

boost::asio::ip::address parse_host(const std::string& host, bool& good) {
    boost::system::error_code error;
    const auto address = boost::asio::ip::make_address(host, error);
    good = !error;
    return address;
}

bool is_name(std::string_view host) {
    const auto allowed = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
               c == '-' || c == '_';
    };
    return !host.empty() && host.size() <= kMaxName && host[0] != '-' && host[0] != '.' &&
           std::all_of(host.begin(), host.end(), allowed);
}

}  // namespace

std::optional<TcpAddress> parse_tcp_address(std::string_view text, bool names) {
    const size_t colon = text.rfind(':');
    if (colon == std::string_view::npos) return {};
    std::string_view host = text.substr(0, colon);
    const bool brackets = host.starts_with('[') && host.ends_with(']') && host.size() > 2;
    if (brackets) host = host.substr(1, host.size() - 2);
    TcpAddress address{.host = std::string(host)};
    const char* end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data() + colon + 1, end, address.port);
    if (parsed.ec != std::errc{} || parsed.ptr != end) return {};
    bool numbers = false;
    const auto ip = parse_host(address.host, numbers);
    if (numbers ? ip.is_v6() != brackets : brackets || !names || !is_name(host)) return {};
    return address;
}

std::string to_string(const TcpAddress& address) {
    const bool brackets = address.host.find(':') != std::string::npos;
    return (brackets ? "[" + address.host + "]" : address.host) + ":" + std::to_string(address.port);
}

bool is_loopback(const TcpAddress& address) {
    bool numbers = false;
    const auto ip = parse_host(address.host, numbers);
    return numbers && (ip.is_v6() && ip.to_v6().is_v4_mapped()
                           ? make_address_v4(boost::asio::ip::v4_mapped, ip.to_v6()).is_loopback()
                           : ip.is_loopback());
}

}  // namespace lagan::http
