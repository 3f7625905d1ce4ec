// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/net/address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <stdexcept>

namespace lagan::net {

namespace {

constexpr std::array<uint8_t, 12> kMappedPrefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

[[noreturn]] void bad_address(std::string_view text, const char* wanted) {
    throw std::invalid_argument("\"" + std::string(text) + "\" is not " + wanted);
}

}  // namespace

bool IpAddress::is_ipv4() const {
    return std::equal(kMappedPrefix.begin(), kMappedPrefix.end(), bytes.begin());
}

IpAddress IpAddress::from_ipv4(const uint8_t* four_bytes) {
    IpAddress address;
    std::copy(kMappedPrefix.begin(), kMappedPrefix.end(), address.bytes.begin());
    std::copy_n(four_bytes, 4, address.bytes.begin() + 12);
    return address;
}

IpAddress IpAddress::from_ipv6(const uint8_t* sixteen_bytes) {
    IpAddress address;
    std::copy_n(sixteen_bytes, 16, address.bytes.begin());
    return address;
}

IpAddress IpAddress::parse(std::string_view text) {
    const std::string terminated(text);
    std::array<uint8_t, 16> raw;
    // inet_pton stops at a NUL, so that a text with one inside would be taken for its first half.
    if (terminated.find('\0') == std::string::npos) {
        if (inet_pton(AF_INET, terminated.c_str(), raw.data()) == 1) return from_ipv4(raw.data());
        if (inet_pton(AF_INET6, terminated.c_str(), raw.data()) == 1) return from_ipv6(raw.data());
    }
    bad_address(text, "an IPv4 or IPv6 address (such as 10.77.0.1 or fd00::1)");
}

std::string IpAddress::to_string() const {
    char text[INET6_ADDRSTRLEN];
    if (is_ipv4()) return inet_ntop(AF_INET, ipv4(), text, sizeof text);
    return inet_ntop(AF_INET6, bytes.data(), text, sizeof text);
}

IpPrefix IpPrefix::parse(std::string_view text) {
    constexpr const char* kWanted = "an address with a prefix length (such as 10.77.0.1/24 or fd00::1/64)";
    const size_t slash = text.find('/');
    if (slash == std::string_view::npos) bad_address(text, kWanted);
    IpPrefix prefix{};
    try {
        prefix.address = IpAddress::parse(text.substr(0, slash));
    } catch (const std::invalid_argument&) {
        bad_address(text, kWanted);
    }
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data() + slash + 1, end, prefix.length);
    if (error != std::errc{} || stop != end || prefix.length > (prefix.address.is_ipv4() ? 32 : 128)) {
        bad_address(text, kWanted);
    }
    return prefix;
}

bool IpPrefix::contains(const IpAddress& other) const {
    if (address.is_ipv4() != other.is_ipv4()) return false;
    const unsigned bits = length + (address.is_ipv4() ? 96U : 0U);
    const unsigned whole = bits / 8;
    if (!std::equal(address.bytes.begin(), address.bytes.begin() + whole, other.bytes.begin())) return false;
    if (bits % 8 == 0) return true;
    const unsigned mask = 0xff00U >> (bits % 8);
    return ((address.bytes[whole] ^ other.bytes[whole]) & mask & 0xffU) == 0;
}

}  // namespace lagan::net
