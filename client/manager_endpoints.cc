// SPDX-License-Identifier: BSD-3-Clause
#include "client/manager_endpoints.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/algorithm/string/trim.hpp>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>

namespace lagan::client {

using nlohmann::json;

namespace {

constexpr unsigned kUnauthorized = 401;
constexpr size_t kMaxTokenBytes = 1024;
constexpr size_t kMaxReplyBytes = 16U << 20;

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

}  // namespace

std::string detail_of(const http::Response& response) {
    const json body = json::parse(response.body, nullptr, false);
    if (body.is_object()) {
        if (const auto detail = body.find("detail"); detail != body.end() && detail->is_string())
            return detail->get<std::string>();
    }
    return fmt::format("HTTP status {}", response.status);
}

ManagerEndpoints::ManagerEndpoints(const ManagerOptions& options) {
    // A program may go to another directory before it is read again.
    if (!options.token_file.empty()) token_file_ = std::filesystem::absolute(options.token_file);
    for (const std::string& url : options.urls)
        endpoints_.push_back(endpoint_of(url));
    if (!token_file_.empty()) token_ = read_token(token_file_);
    for (const http::Endpoint& endpoint : endpoints_) {
        if (endpoint.tls && !tls_) tls_ = http::client_tls({.ca = options.ca});
        if (!token_.empty() && endpoint.unix_socket.empty() && !endpoint.tls &&
            !http::is_loopback(endpoint.tcp))
            throw std::runtime_error(
                fmt::format("{}: the token would go over the network for everyone to read: it takes https://",
                            to_string(endpoint)));
    }
}

void ManagerEndpoints::prefer(size_t place) {
    const auto chosen = endpoints_.begin() + static_cast<ptrdiff_t>(place);
    std::rotate(endpoints_.begin(), chosen, chosen + 1);
}

http::Client ManagerEndpoints::client_of(const http::Endpoint& endpoint,
                                         std::chrono::milliseconds patience) const {
    return http::Client({.to = endpoint,
                         .tls = endpoint.tls ? tls_ : nullptr,
                         .timeout = patience,
                         .max_reply_bytes = kMaxReplyBytes});
}

http::Headers ManagerEndpoints::with(const http::Headers& more) const {
    http::Headers all = more;
    if (!token_.empty()) all.emplace_back("Authorization", "Bearer " + token_);
    return all;
}

bool ManagerEndpoints::token_was_replaced() {
    if (token_file_.empty()) return false;
    try {
        const std::string before = std::exchange(token_, read_token(token_file_));
        return token_ != before;
    } catch (const std::runtime_error&) {  // the answer says more
        return false;
    }
}

// What is refused with our token is asked once more with the one that the file has by now.
http::Response ManagerEndpoints::authorized(const http::Headers& more,
                                            const std::function<http::Response(const http::Headers&)>& ask) {
    http::Response response = ask(with(more));
    if (response.status != kUnauthorized || !token_was_replaced()) return response;
    return ask(with(more));
}

http::Response ManagerEndpoints::call(size_t place, const std::string& method, const std::string& target,
                                      const std::string& body, const http::Headers& more,
                                      std::chrono::milliseconds patience) {
    const http::Client client = client_of(endpoints_[place], patience);
    return authorized(
        more, [&](const http::Headers& headers) { return client.call(method, target, body, headers); });
}

http::Response ManagerEndpoints::follow(size_t place, const std::string& target, const http::Headers& more,
                                        std::chrono::milliseconds patience,
                                        const std::function<bool(std::string_view)>& take) {
    const http::Client client = client_of(endpoints_[place], patience);
    return authorized(more,
                      [&](const http::Headers& headers) { return client.follow(target, headers, take); });
}

}  // namespace lagan::client
