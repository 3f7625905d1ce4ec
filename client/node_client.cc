// SPDX-License-Identifier: BSD-3-Clause
#include "client/node_client.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <stdexcept>
#include <string_view>

namespace lagan::client {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using Local = asio::local::stream_protocol;

namespace {

constexpr uint64_t kMaxReplyBytes = 16U << 20;

[[noreturn]] void fail(const std::filesystem::path& socket, const std::string& what) {
    throw std::runtime_error("the appliance at " + socket.string() + " " + what);
}

// Asio has no blocking calls with a timeout: each step is started, and run until it has ended either way.
class Exchange {
  public:
    Exchange(const std::filesystem::path& socket, std::chrono::milliseconds timeout) : socket_(socket) {
        if (socket.native().size() > 107)
            fail(socket, "cannot be reached: the socket's path is longer than 107 characters");
        stream_.expires_after(timeout);
    }

    NodeReply run(const http::request<http::string_body>& request) {
        finish_step([&](auto done) { stream_.async_connect(Local::endpoint(socket_.native()), done); });
        if (error_)
            fail(socket_, "cannot be reached: " + error_.message() +
                              " (is lagand running, and is this its node.api_socket?)");

        // A server that refuses the request may stop reading it; its reply is what counts.
        finish_step([&](auto done) {
            http::async_write(stream_, request, [done](beast::error_code error, size_t) { done(error); });
        });

        http::response_parser<http::string_body> parser;
        parser.body_limit(kMaxReplyBytes);
        finish_step([&](auto done) {
            http::async_read(stream_, buffer_, parser,
                             [done](beast::error_code error, size_t) { done(error); });
        });
        if (error_ == beast::error::timeout) fail(socket_, "did not answer in time");
        if (error_) fail(socket_, "broke the connection off: " + error_.message());
        return to_reply(parser.get());
    }

  private:
    template <typename Start>
    void finish_step(Start&& start) {
        start([this](beast::error_code error) { error_ = error; });
        context_.restart();
        context_.run();
    }

    NodeReply to_reply(const http::response<http::string_body>& response) const {
        NodeReply reply{.status = response.result_int(), .body = nullptr};
        if (response.body().empty()) return reply;
        reply.body = nlohmann::json::parse(response.body(), nullptr, false);
        if (reply.body.is_discarded())
            fail(socket_, "answered with something that is not JSON (is it lagand's socket?)");
        return reply;
    }

    const std::filesystem::path& socket_;
    asio::io_context context_{1};
    beast::basic_stream<Local> stream_{context_};
    beast::flat_buffer buffer_;
    beast::error_code error_;
};

NodeReply call(const std::filesystem::path& socket, std::chrono::milliseconds timeout, http::verb method,
               const std::string& target, const std::string& body) {
    http::request<http::string_body> request{method, target, 11};
    request.set(http::field::host, "lagand");
    request.set(http::field::connection, "close");
    if (!body.empty()) {
        request.set(http::field::content_type, "application/json");
        request.body() = body;
    }
    request.prepare_payload();
    return Exchange(socket, timeout).run(request);
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
    return call(socket_, timeout_, http::verb::get, target, {});
}

NodeReply NodeClient::post(const std::string& target, const nlohmann::json& body) const {
    return call(socket_, timeout_, http::verb::post, target, body.dump());
}

NodeReply NodeClient::del(const std::string& target) const {
    return call(socket_, timeout_, http::verb::delete_, target, {});
}

}  // namespace lagan::client
