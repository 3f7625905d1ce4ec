// SPDX-License-Identifier: BSD-3-Clause
#include "client/node_client.h"

#include <stdexcept>

#include "mgmt/http/client.h"

namespace lagan::client {

namespace {

using Kind = http::ClientError::Kind;

NodeReply call(const std::filesystem::path& socket, std::chrono::milliseconds timeout, const char* method,
               const std::string& target, const std::string& body) {
    const http::Client client({.to = {.unix_socket = socket}, .timeout = timeout});
    http::Response response;
    try {
        response = client.call(method, target, body);
    } catch (const http::ClientError& error) {
        throw std::runtime_error(std::string("the appliance at ") + error.what() +
                                 (error.kind == Kind::unreachable
                                      ? " (is lagand running, and is this its node.api_socket?)"
                                      : ""));
    }
    NodeReply reply{.status = response.status, .body = nullptr};
    if (response.body.empty()) return reply;
    reply.body = nlohmann::json::parse(response.body, nullptr, false);
    if (reply.body.is_discarded())
        throw std::runtime_error("the appliance at " + socket.string() +
                                 " answered with something that is not JSON (is it lagand's socket?)");
    return reply;
}

}  // namespace

std::string NodeReply::error() const {
    if (ok()) return {};
    if (body.is_object()) {
        if (const auto detail = body.find("detail"); detail != body.end() && detail->is_string())
            return detail->get<std::string>();
    }
    return "HTTP status " + std::to_string(status);
}

NodeClient::NodeClient(std::filesystem::path socket, std::chrono::milliseconds timeout)
    : socket_(std::move(socket)), timeout_(timeout) {}

NodeReply NodeClient::get(const std::string& target) const {
    return call(socket_, timeout_, "GET", target, {});
}

NodeReply NodeClient::post(const std::string& target, const nlohmann::json& body) const {
    return call(socket_, timeout_, "POST", target, body.dump());
}

NodeReply NodeClient::del(const std::string& target) const {
    return call(socket_, timeout_, "DELETE", target, {});
}

}  // namespace lagan::client
