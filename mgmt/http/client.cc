// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/http/client.h"

#include <netdb.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <utility>
#include <vector>

#include "mgmt/http/transport.h"

namespace lagan::http {

namespace asio = boost::asio;
namespace wire = boost::beast::http;
using asio::generic::stream_protocol;
using Kind = ClientError::Kind;

namespace {

constexpr size_t kReadBytes = 16 * 1024;
constexpr uint32_t kMaxHeaderBytes = 64 * 1024;

void check_text(std::string_view text, bool spaces) {
    const auto bad = [spaces](char c) {
        return static_cast<unsigned char>(c) < ' ' || c == '\x7f' || (c == ' ' && !spaces);
    };
    if ((text.empty() && !spaces) || std::any_of(text.begin(), text.end(), bad))
        throw std::invalid_argument("HTTP request: \"" + std::string(text) + "\" cannot be sent");
}

std::string request_text(const Endpoint& to, const std::string& method, const std::string& target,
                         const std::string& body, const Headers& headers) {
    check_text(method, false);
    check_text(target, false);
    std::string text = method + " " + target +
                       " HTTP/1.1\r\nHost: " + (to.unix_socket.empty() ? to_string(to.tcp) : "localhost") +
                       "\r\nConnection: close\r\n";
    bool typed = body.empty();
    for (const auto& [name, value] : headers) {
        check_text(name, false);
        check_text(value, true);
        text += name + ": " + value + "\r\n";
        typed = typed || name == "Content-Type";
    }
    if (!typed) text += "Content-Type: application/json\r\n";
    if (!body.empty() || method == "POST" || method == "PUT" || method == "PATCH")
        text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
    return text + "\r\n" + body;
}

// Asio has no blocking calls with a timeout: each step is started, and run until it has ended either way.
class Exchange {
  public:
    using Take = std::function<bool(std::string_view)>;

    explicit Exchange(const ClientOptions& options) : options_(options) { arm(); }

    // With `take`, that gets the body of a good reply as it comes.
    Response run(const std::string& request, bool head_only, const Take& take = {}) {
        connect();
        transport_ =
            options_.tls
                ? static_cast<const TlsContext&>(*options_.tls).wrap(std::move(socket_), options_.to.tcp.host)
                : make_plain_transport(std::move(socket_));
        step([&](auto done) { transport_->shake_hands([done](Error error) { done(error, 0); }); });
        if (error_) fail(Kind::untrusted, "cannot be talked to by TLS: " + error_.message());
        // A server that refuses the request may stop reading it; its reply is what counts.
        step([&](auto done) { transport_->write(asio::buffer(request), done); });
        wire::response_parser<wire::string_body> parser;
        parser.header_limit(kMaxHeaderBytes);
        take ? parser.body_limit(boost::none) : parser.body_limit(options_.max_reply_bytes);
        // Not eager: Boost 1.74 then forgets the body's limit when header and body come together.
        parser.skip(head_only);
        read(parser, take);
        Response response{.status = parser.get().result_int(), .body = std::move(parser.get().body())};
        for (const auto& field : parser.get())
            response.headers.emplace_back(field.name_string(), field.value());
        return response;
    }

  private:
    void arm() {
        deadline_.expires_after(options_.timeout);
        deadline_.async_wait([this](Error error) {
            if (error) return;
            late_ = true;
            Error ignored;
            transport_ ? transport_->close() : void(socket_.close(ignored));
        });
    }

    template <typename Start>
    void step(Start&& start) {
        bool ended = false;
        start([this, &ended](Error error, size_t bytes) {
            ended = true;
            error_ = error;
            bytes_ = bytes;
        });
        while (!ended)
            context_.run_one();
    }

    [[noreturn]] void fail(Kind kind, const std::string& what) const {
        const std::string who = to_string(options_.to) + " ";
        if (late_) throw ClientError(Kind::late, who + "did not answer in time");
        throw ClientError(kind, who + what);
    }

    std::vector<stream_protocol::endpoint> addresses() const {
        const Endpoint& to = options_.to;
        if (!to.unix_socket.empty()) {
            if (to.unix_socket.native().size() >= sizeof(sockaddr_un::sun_path))
                fail(Kind::unreachable, "cannot be reached: the socket's path is longer than 107 characters");
            return {asio::local::stream_protocol::endpoint(to.unix_socket.native())};
        }
        addrinfo hints{};
        hints.ai_socktype = SOCK_STREAM;
        addrinfo* list = nullptr;
        const int error =
            getaddrinfo(to.tcp.host.c_str(), std::to_string(to.tcp.port).c_str(), &hints, &list);
        if (error != 0) fail(Kind::unreachable, std::string("cannot be reached: ") + gai_strerror(error));
        const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> found(list, freeaddrinfo);
        std::vector<stream_protocol::endpoint> all;
        for (const addrinfo* each = list; each != nullptr; each = each->ai_next)
            all.emplace_back(each->ai_addr, each->ai_addrlen, each->ai_protocol);
        return all;
    }

    void connect() {
        for (const auto& address : addresses()) {
            Error ignored;
            if (!late_) socket_.close(ignored);
            step([&](auto done) { socket_.async_connect(address, [done](Error error) { done(error, 0); }); });
            if (!error_ || late_) break;
        }
        if (error_ || late_) fail(Kind::unreachable, "cannot be reached: " + error_.message());
    }

    // False: no more is wanted.
    template <typename Parser>
    bool hand_over(Parser& parser, const Take& take) {
        std::string& body = parser.get().body();
        if (!parser.is_header_done() || parser.get().result() != wire::status::ok) {
            if (body.size() > options_.max_reply_bytes) fail(Kind::broken, "answers with too much");
            return true;
        }
        arm();
        return body.empty() || take(std::exchange(body, {}));
    }

    template <typename Parser>
    void read(Parser& parser, const Take& take) {
        std::string text;
        std::array<char, kReadBytes> block;
        while (!parser.is_done()) {
            step([&](auto done) { transport_->read_some(asio::buffer(block), done); });
            text.append(block.data(), bytes_);
            const bool over = error_ == asio::error::eof;
            if (error_ && !over) fail(Kind::broken, "broke the connection off: " + error_.message());
            Error error = parse(parser, text);
            if (over && !parser.got_some()) error = wire::error::end_of_stream;
            if (over && !error && !parser.is_done()) parser.put_eof(error);
            if (error == wire::error::body_limit)
                fail(Kind::broken,
                     "answers with more than " + std::to_string(options_.max_reply_bytes) + " bytes");
            if (error == wire::error::end_of_stream || error == wire::error::partial_message)
                fail(Kind::broken, "broke the connection off: end of stream");
            if (error) fail(Kind::broken, "answers with something that is not HTTP: " + error.message());
            if (take && !hand_over(parser, take)) return;
        }
    }

    template <typename Parser>
    static Error parse(Parser& parser, std::string& text) {
        while (!text.empty() && !parser.is_done()) {
            Error error;
            text.erase(0, parser.put(asio::buffer(std::as_const(text)), error));
            if (error == wire::error::need_more) return {};
            if (error) return error;
        }
        return {};
    }

    const ClientOptions& options_;
    asio::io_context context_{1};
    Socket socket_{context_};
    std::unique_ptr<Transport> transport_;
    asio::steady_timer deadline_{context_};
    bool late_ = false;
    Error error_;
    size_t bytes_ = 0;
};

}  // namespace

std::optional<Endpoint> parse_endpoint(std::string_view text) {
    if (text.starts_with('/')) return Endpoint{.unix_socket = text};
    Endpoint endpoint;
    endpoint.tls = text.starts_with("https://");
    if (!endpoint.tls && !text.starts_with("http://")) return {};
    text.remove_prefix(endpoint.tls ? 8 : 7);
    if (text.ends_with('/')) text.remove_suffix(1);
    const auto address = parse_tcp_address(text, true);
    if (!address) return {};
    endpoint.tcp = *address;
    return endpoint;
}

std::string to_string(const Endpoint& endpoint) {
    if (!endpoint.unix_socket.empty()) return endpoint.unix_socket.string();
    return (endpoint.tls ? "https://" : "http://") + to_string(endpoint.tcp);
}

Client::Client(ClientOptions options) : options_(std::move(options)) {
    if (options_.to.tls != (options_.tls != nullptr))
        throw std::invalid_argument(to_string(options_.to) +
                                    (options_.tls ? ": is not to be called by TLS" : ": TLS needs a CA"));
}

Response Client::call(const std::string& method, const std::string& target, const std::string& body,
                      const Headers& headers) const {
    return Exchange(options_).run(request_text(options_.to, method, target, body, headers), method == "HEAD");
}

Response Client::follow(const std::string& target, const Headers& headers,
                        const std::function<bool(std::string_view)>& take) const {
    return Exchange(options_).run(request_text(options_.to, "GET", target, {}, headers), false, take);
}

}  // namespace lagan::http
