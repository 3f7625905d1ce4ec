// SPDX-License-Identifier: BSD-3-Clause
#include "client/grant_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/algorithm/hex.hpp>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace lagan::client {

inline constexpr size_t kGrantBytes = 56;
inline constexpr size_t kMaxFileBytes = 4096;  // more than any of the forms

static std::string read_file(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::string bytes(kMaxFileBytes, '\0');
    file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    if (!file.is_open() || file.bad())
        throw std::runtime_error(fmt::format("{} cannot be read: {}", path.string(), strerror(errno)));
    bytes.resize(static_cast<size_t>(file.gcount()));
    return bytes;
}

std::vector<uint8_t> read_grant_file(const std::filesystem::path& path) {
    std::string text = read_file(path);
    if (text.size() == kGrantBytes) return {text.begin(), text.end()};
    const auto reply = nlohmann::json::parse(text, nullptr, false);
    if (reply.is_object() && reply.contains("grant") && reply["grant"].is_string())
        text = reply["grant"].get<std::string>();
    std::erase_if(text, [](unsigned char c) { return std::isspace(c); });
    std::vector<uint8_t> grant;
    try {
        boost::algorithm::unhex(text, std::back_inserter(grant));
    } catch (const boost::algorithm::hex_decode_error&) {
        grant.clear();
    }
    if (grant.size() != kGrantBytes)
        throw std::runtime_error(
            fmt::format("{} is no grant: neither 56 bytes, nor 112 hexadecimal digits, nor the node API's "
                        "reply with these",
                        path.string()));
    return grant;
}

Role role_of_grant(std::span<const uint8_t> grant) {
    return static_cast<Role>(grant[1]);
}

bool same_region(std::span<const uint8_t> one, std::span<const uint8_t> other) {
    constexpr size_t kKeyId = 2, kExpiry = 8;  // between them: key id and region id
    return one.size() == kGrantBytes && other.size() == kGrantBytes &&
           std::equal(one.begin() + kKeyId, one.begin() + kExpiry, other.begin() + kKeyId);
}

}  // namespace lagan::client
