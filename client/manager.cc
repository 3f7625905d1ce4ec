// SPDX-License-Identifier: BSD-3-Clause
#include "client/manager.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/algorithm/hex.hpp>
#include <boost/algorithm/string/trim.hpp>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace lagan::client {

using nlohmann::json;

namespace {

constexpr size_t kMaxTokenBytes = 1024;
constexpr size_t kGrantBytes = 56;
constexpr size_t kMaxReplyBytes = 1U << 20;

std::string read_token(const std::filesystem::path& path) {
    std::ifstream file(path);
    errno = file.is_open() ? 0 : errno;
    std::string token;
    if (!std::getline(file, token))
        throw std::runtime_error(fmt::format("{} cannot be read: {}", path.string(),
                                             errno != 0 ? std::strerror(errno) : "it is empty"));
    boost::algorithm::trim(token);
    // What cannot be in a header.
    const bool plain =
        std::all_of(token.begin(), token.end(), [](unsigned char c) { return c > 32 && c < 127; });
    if (token.empty() || token.size() > kMaxTokenBytes || !plain)
        throw std::runtime_error(path.string() + " holds no token: it takes one line of text");
    return token;
}

http::Endpoint endpoint_of(const std::string& url) {
    constexpr std::string_view kUnix = "unix:";
    const auto endpoint =
        http::parse_endpoint(url.starts_with(kUnix) ? std::string_view(url).substr(kUnix.size()) : url);
    if (!endpoint)
        throw std::runtime_error(url +
                                 " is no manager's address: it takes https://HOST:PORT, "
                                 "http://127.0.0.1:PORT or unix:PATH");
    return *endpoint;
}

std::string detail_of(const http::Response& response) {
    const json body = json::parse(response.body, nullptr, false);
    if (body.is_object()) {
        if (const auto detail = body.find("detail"); detail != body.end() && detail->is_string())
            return detail->get<std::string>();
    }
    return fmt::format("HTTP status {}", response.status);
}

Home home_from(const json& body) {
    Home home = {.node = body.at("node"),
                 .address = body.at("address"),
                 .port = body.at("port"),
                 .grant = {},
                 .uid = body.at("uid"),
                 .epoch = body.at("epoch"),
                 .rolled_back = std::nullopt};
    boost::algorithm::unhex(body.at("grant").get_ref<const std::string&>(), std::back_inserter(home.grant));
    if (home.grant.size() != kGrantBytes) throw boost::algorithm::not_enough_input();
    const auto rolled_back = body.find("rolled_back");
    if (rolled_back == body.end() || rolled_back->is_null()) return home;
    home.rolled_back = {.epoch = rolled_back->at("epoch"),
                        .cut_number = rolled_back->value("cut_number", uint64_t{0}),
                        .cut_time_us = rolled_back->value("cut_time_us", uint64_t{0})};
    return home;
}

}  // namespace

Manager::Manager(const ManagerOptions& options) {
    for (const std::string& url : options.urls)
        endpoints_.push_back(endpoint_of(url));
    if (!options.token_file.empty())
        headers_.emplace_back("Authorization", "Bearer " + read_token(options.token_file));
    for (const http::Endpoint& endpoint : endpoints_) {
        if (endpoint.tls && !tls_) tls_ = http::client_tls({.ca = options.ca});
        if (!headers_.empty() && endpoint.unix_socket.empty() && !endpoint.tls &&
            !http::is_loopback(endpoint.tcp))
            throw std::runtime_error(
                fmt::format("{}: the token would go over the network for everyone to read: it takes https://",
                            to_string(endpoint)));
    }
}

http::Response Manager::ask(const http::Endpoint& endpoint, const std::string& target,
                            std::chrono::milliseconds patience) const {
    const http::Client client({.to = endpoint,
                               .tls = endpoint.tls ? tls_ : nullptr,
                               .timeout = patience,
                               .max_reply_bytes = kMaxReplyBytes});
    return client.call("GET", target, {}, headers_);
}

Home Manager::home_of(const std::string& region, Role role, std::chrono::milliseconds patience) {
    const std::string target =
        fmt::format("/v1/regions/{}/home?role={}", region, role == Role::write ? "write" : "read");
    std::string why;
    for (size_t i = 0; i < endpoints_.size(); i++) {
        const std::string name = to_string(endpoints_[i]);
        try {
            const http::Response response = ask(endpoints_[i], target, patience);
            if (response.status == 200) {
                Home home = home_from(json::parse(response.body));
                std::rotate(endpoints_.begin(), endpoints_.begin() + static_cast<ptrdiff_t>(i),
                            endpoints_.end());
                return home;
            }
            const std::string text = fmt::format("asking the manager at {} for region '{}': {}", name, region,
                                                 detail_of(response));
            if (response.status < 500 && response.status != 429) throw Refused(text);
            why += (why.empty() ? "" : "; ") + text;
        } catch (const http::ClientError& error) {
            why += (why.empty() ? "the manager at " : "; the manager at ") + std::string(error.what());
        } catch (const json::exception& error) {
            why += fmt::format("{}the manager at {} sent an answer that is none: {}", why.empty() ? "" : "; ",
                               name, error.what());
        } catch (const boost::algorithm::hex_decode_error&) {
            why +=
                fmt::format("{}the manager at {} sent a grant that is none", why.empty() ? "" : "; ", name);
        }
    }
    throw std::runtime_error(why);
}

}  // namespace lagan::client
