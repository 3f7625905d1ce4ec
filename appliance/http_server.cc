// SPDX-License-Identifier: BSD-3-Clause
#include "appliance/http_server.h"

#include <fmt/format.h>

#include <array>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <deque>
#include <optional>
#include <set>
#include <thread>

#include "appliance/unix_listener.h"

namespace lagan::appliance {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using Local = asio::local::stream_protocol;

namespace {

constexpr uint32_t kMaxHeaderBytes = 8 * 1024;
constexpr size_t kMaxDrainedBytes =
    1U << 20;  // of a refused request, read so that its sender gets to see the reply

class Session;

struct Lane {
    HttpLane limits;
    asio::thread_pool workers;
    unsigned requests = 0;  // the I/O thread's

    explicit Lane(const HttpLane& wanted) : limits(wanted), workers(wanted.threads) {}
};

// All of it is the I/O thread's but for `handlers`, which are constant.
struct Service {
    HttpHandlers handlers;
    HttpLimits limits;
    asio::io_context context{1};
    Local::acceptor acceptor{context};
    asio::steady_timer accept_again{context};
    std::set<std::shared_ptr<Session>> sessions;
    bool accepting = false;
    std::deque<Lane> lanes{};  // last: what waits in them holds sessions

    void accept();
    void ended(const std::shared_ptr<Session>& session);
};

// One connection: read a request, handle it, write the reply, over again.
class Session : public std::enable_shared_from_this<Session> {
  public:
    Session(Service& service, Local::socket socket) : service_(service), stream_(std::move(socket)) {}

    void read() {
        parser_.emplace();
        parser_->header_limit(kMaxHeaderBytes);
        parser_->body_limit(service_.limits.max_body_bytes);
        stream_.expires_after(service_.limits.timeout);
        http::async_read(
            stream_, buffer_, *parser_,
            [self = shared_from_this()](beast::error_code error, size_t) { self->on_read(error); });
    }

    void close() { stream_.close(); }

  private:
    void on_read(beast::error_code error) {
        if (!error) {
            ask_worker();
        } else if (error == http::error::body_limit) {
            write(problem(413, "the body is larger than " + std::to_string(service_.limits.max_body_bytes) +
                                   " bytes"),
                  false);
        } else if (error == http::error::header_limit) {
            write(problem(431, "the header is larger than " + std::to_string(kMaxHeaderBytes) + " bytes"),
                  false);
        } else if (error.category() == make_error_code(http::error::bad_method).category() &&
                   error != http::error::end_of_stream && error != http::error::partial_message) {
            write(problem(400, "this is not HTTP/1.1: " + error.message()), false);
        } else {
            finish();  // gone, or too slow
        }
    }

    void ask_worker() {
        const auto& request = parser_->get();
        const bool keep_alive = request.keep_alive() && request.method() != http::verb::head;
        ApiRequest asked{.method = std::string(request.method_string()),
                         .target = std::string(request.target()),
                         .body = request.body()};
        Lane& lane = service_.lanes.at(service_.handlers.lane_of(asked));
        if (lane.requests >= lane.limits.max_requests)
            return write(problem(503, fmt::format("{} requests wait for {} already; try again later",
                                                  lane.requests, lane.limits.what)),
                         keep_alive);
        ++lane.requests;
        asio::post(lane.workers,
                   [self = shared_from_this(), &lane, asked = std::move(asked), keep_alive]() mutable {
                       auto& service = self->service_;
                       ApiReply reply = service.handlers.handle(asked);
                       asio::post(service.context,
                                  [self = std::move(self), &lane, reply = std::move(reply), keep_alive] {
                                      --lane.requests;
                                      self->write(reply, keep_alive);
                                  });
                   });
    }

    // Of a connection that was closed meanwhile: an error, and its end.
    void write(const ApiReply& reply, bool keep_alive) {
        response_ = {};
        response_.version(11);
        response_.result(reply.status);
        response_.set(http::field::server, "lagand");
        if (!reply.allowed_methods.empty()) response_.set(http::field::allow, reply.allowed_methods);
        if (!reply.body.is_null()) {
            response_.set(http::field::content_type, reply.content_type());
            response_.body() = reply.body_text();
        }
        response_.keep_alive(keep_alive);
        if (reply.status != 204) response_.prepare_payload();
        stream_.expires_after(service_.limits.timeout);
        http::async_write(stream_, response_,
                          [self = shared_from_this(), keep_alive](beast::error_code error, size_t) {
                              if (error) return self->finish();
                              if (keep_alive) return self->read();
                              self->drain();
                          });
    }

    // Closing while the peer still sends would make it see an error instead of the reply.
    void drain() {
        beast::error_code ignored;
        stream_.socket().shutdown(Local::socket::shutdown_send, ignored);
        stream_.async_read_some(asio::buffer(drained_),
                                [self = shared_from_this()](beast::error_code error, size_t bytes) {
                                    self->drained_bytes_ += bytes;
                                    if (error || self->drained_bytes_ > kMaxDrainedBytes)
                                        return self->finish();
                                    self->drain();
                                });
    }

    void finish() {
        close();
        service_.ended(shared_from_this());
    }

    Service& service_;
    beast::basic_stream<Local> stream_;
    beast::flat_buffer buffer_{kMaxHeaderBytes + 64 * 1024};
    std::optional<http::request_parser<http::string_body>> parser_;
    http::response<http::string_body> response_;
    std::array<char, 4096> drained_{};
    size_t drained_bytes_ = 0;
};

void Service::accept() {
    if (accepting || !acceptor.is_open() || sessions.size() >= limits.max_connections) return;
    accepting = true;
    acceptor.async_accept([this](beast::error_code error, Local::socket socket) {
        accepting = false;
        if (error == asio::error::operation_aborted) return;
        if (error) {  // out of file descriptors, most likely: try again when some may have been closed
            accept_again.expires_after(std::chrono::milliseconds(100));
            accept_again.async_wait([this](beast::error_code aborted) {
                if (!aborted) accept();
            });
            return;
        }
        const auto session = std::make_shared<Session>(*this, std::move(socket));
        sessions.insert(session);
        session->read();
        accept();
    });
}

void Service::ended(const std::shared_ptr<Session>& session) {
    sessions.erase(session);
    accept();
}

}  // namespace

struct HttpServer::Impl {
    UnixListener listener;
    Service service;
    asio::executor_work_guard<asio::io_context::executor_type> until_destroyed{
        service.context.get_executor()};
    std::thread thread;

    Impl(std::filesystem::path path, HttpHandlers handlers, const HttpLimits& limits)
        : listener(std::move(path)), service{.handlers = std::move(handlers), .limits = limits} {
        for (const HttpLane& lane : service.handlers.lanes)
            service.lanes.emplace_back(lane);
        service.acceptor.assign(Local(), listener.release());
        service.accept();
        thread = std::thread([this] { service.context.run(); });
    }

    ~Impl() {
        asio::post(service.context, [this] {
            service.accept_again.cancel();
            service.acceptor.close();
            for (const auto& session : service.sessions)
                session->close();
        });
        for (Lane& lane : service.lanes)
            lane.workers.stop();
        for (Lane& lane : service.lanes)
            lane.workers.join();
        until_destroyed.reset();
        thread.join();
    }
};

HttpServer::HttpServer(std::filesystem::path socket, HttpHandlers handlers, const HttpLimits& limits)
    : impl_(std::make_unique<Impl>(std::move(socket), std::move(handlers), limits)) {}

HttpServer::~HttpServer() = default;

}  // namespace lagan::appliance
