// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/http/session.h"

#include <fmt/format.h>

#include <boost/asio/post.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <optional>

namespace lagan::http {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace wire = boost::beast::http;

namespace {

constexpr uint32_t kMaxHeaderBytes = 8 * 1024;
constexpr size_t kReadBytes = 16 * 1024;
constexpr size_t kMaxUnparsedBytes = 64 * 1024;
constexpr size_t kMaxDrainedBytes =
    1U << 20;  // of a refused request, read so that its sender gets to see the reply
constexpr const char* kHeartbeat = ":\n\n";  // a comment, to a client of server-sent events

// A line break in a value would begin a header of somebody else's making.
void add_header(std::string& text, std::string_view name, std::string_view value) {
    text += name;
    text += ": ";
    for (const char c : value)
        text += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
    text += "\r\n";
}

std::string header_text(const Reply& reply, bool keep_alive) {
    std::string text =
        fmt::format("HTTP/1.1 {} {}\r\nServer: lagan\r\n", reply.status, status_title(reply.status));
    for (const auto& [name, value] : reply.headers)
        add_header(text, name, value);
    if (const std::string type = content_type(reply); !type.empty()) add_header(text, "Content-Type", type);
    add_header(text, "Connection", keep_alive ? "keep-alive" : "close");
    return text;
}

std::string chunk(const std::string& text) {
    return text.empty() ? text : fmt::format("{:x}\r\n{}\r\n", text.size(), text);
}

}  // namespace

struct Session::Input {
    beast::flat_buffer buffer{kMaxUnparsedBytes};
    std::optional<wire::request_parser<wire::string_body>> parser;
};

Session::Session(Service& service, std::deque<LaneState>& lanes, std::unique_ptr<Transport> transport,
                 std::function<void(const std::shared_ptr<Session>&)> ended)
    : service_(service),
      lanes_(lanes),
      transport_(std::move(transport)),
      ended_(std::move(ended)),
      timer_(service.context),
      input_(std::make_unique<Input>()) {}

Session::~Session() {
    if (stream_) stream_->detach();
}

void Session::begin() {
    arm(service_.limits.timeout, &Session::close);
    transport_->shake_hands([self = shared_from_this()](Error error) {
        if (error || self->closed_) return self->finish();
        self->peer_ = self->transport_->peer();
        self->read();
    });
}

void Session::close() {
    closed_ = true;
    timer_.cancel();
    if (stream_) stream_->detach();
    transport_->close();
}

void Session::finish() {
    close();
    if (finished_) return;
    finished_ = true;
    if (stream_) --service_.streams;
    ended_(shared_from_this());
}

// What was armed before is forgotten.
void Session::arm(std::chrono::milliseconds after, void (Session::*action)()) {
    timer_.expires_after(after);
    timer_.async_wait([weak = weak_from_this(), action](Error error) {
        const auto self = weak.lock();
        // It may have been armed anew when this was on its way already.
        if (error || !self || self->closed_ || self->timer_.expiry() > std::chrono::steady_clock::now())
            return;
        (self.get()->*action)();
    });
}

// ---- A request ----

void Session::read() {
    auto& parser = input_->parser.emplace();
    parser.header_limit(kMaxHeaderBytes);
    parser.body_limit(service_.limits.max_body_bytes);
    // Not eager: Boost 1.74 then forgets the body's limit when header and body come together.
    arm(service_.limits.timeout, &Session::close);
    parse();
}

void Session::parse() {
    auto& [buffer, parser] = *input_;
    while (!parser->is_done()) {
        if (buffer.size() == 0) return read_more();
        Error error;
        const size_t used = parser->put(buffer.data(), error);
        buffer.consume(used);
        if (error == wire::error::need_more) return read_more();
        if (error) return refuse(error);
    }
    ask_worker();
}

void Session::read_more() {
    beast::flat_buffer& buffer = input_->buffer;
    const size_t room = std::min(kReadBytes, kMaxUnparsedBytes - buffer.size());
    if (room == 0) return refuse(make_error_code(wire::error::header_limit));  // a chunk's header without end
    transport_->read_some(buffer.prepare(room), [self = shared_from_this()](Error error, size_t bytes) {
        if (error || self->closed_) return self->finish();  // gone, or too slow
        self->input_->buffer.commit(bytes);
        self->parse();
    });
}

void Session::refuse(Error error) {
    const Manner last{};
    if (error == wire::error::body_limit) {
        answer(problem(413, fmt::format("the body is larger than {} bytes", service_.limits.max_body_bytes)),
               last);
    } else if (error == wire::error::header_limit) {
        answer(problem(431, fmt::format("the header is larger than {} bytes", kMaxHeaderBytes)), last);
    } else {
        answer(problem(400, "this is not HTTP/1.1: " + error.message()), last);
    }
}

void Session::ask_worker() {
    const auto& message = input_->parser->get();
    const bool head_only = message.method() == wire::verb::head;
    const Manner manner{.keep_alive = message.keep_alive() && !head_only,
                        .head_only = head_only,
                        .chunks = message.version() >= 11};
    Request request{.method = std::string(message.method_string()),
                    .target = std::string(message.target()),
                    .body = message.body(),
                    .peer = peer_};
    for (const auto& field : message)
        request.headers.emplace_back(field.name_string(), field.value());
    LaneState& lane = lanes_.at(service_.handlers.lane_of(request));
    if (lane.requests >= lane.lane.max_requests)
        return answer(problem(503, fmt::format("{} requests wait for {} already; try again later",
                                               lane.requests, lane.lane.what)),
                      manner);
    timer_.cancel();
    ++lane.requests;
    asio::post(lane.workers,
               [self = shared_from_this(), &lane, request = std::move(request), manner]() mutable {
                   Service& service = self->service_;
                   auto reply = std::make_shared<Reply>(service.handlers.handle(request));
                   asio::post(service.context, [self = std::move(self), &lane, reply, manner] {
                       --lane.requests;
                       self->answer(std::move(*reply), manner);
                   });
               });
}

// ---- Its reply ----

void Session::answer(Reply&& reply, const Manner& manner) {
    if (reply.stream && !closed_ && service_.streams < service_.limits.max_streams && !manner.head_only)
        return begin_stream(reply, manner);
    if (reply.stream) {
        reply.stream->detach();
        if (!manner.head_only)
            reply = problem(503, fmt::format("{} event streams are open already", service_.streams));
    }
    if (closed_) return finish();
    output_ = header_text(reply, manner.keep_alive);
    const std::string body = body_text(reply);
    if (reply.status != 204 && reply.status != 304)
        add_header(output_, "Content-Length", std::to_string(body.size()));
    output_ += "\r\n";
    if (!manner.head_only) output_ += body;
    write([this, manner] {
        if (manner.keep_alive) return read();
        end(input_->parser->is_done());
    });
}

// output_; then goes on with `next`, which is called while the session lives.
void Session::write(std::function<void()> next) {
    arm(service_.limits.timeout, &Session::close);
    transport_->write(asio::buffer(output_),
                      [self = shared_from_this(), next = std::move(next)](Error error, size_t) {
                          if (error || self->closed_) return self->finish();
                          next();
                      });
}

// Closing while the peer still sends would make it see an error instead of the reply.
void Session::end(bool all_read) {
    arm(service_.limits.timeout, &Session::close);
    const bool tls = peer_.kind == Peer::Kind::tls;
    // TLS's farewell wants the peer's in return, and takes nothing else.
    if (tls && !all_read) return drain();
    transport_->end_sending([self = shared_from_this(), tls](Error) {
        if (tls || self->closed_) return self->finish();
        if (!self->stream_) self->drain();  // else it is being read from already
    });
}

void Session::drain() {
    transport_->read_some(asio::buffer(drained_), [self = shared_from_this()](Error error, size_t bytes) {
        self->drained_bytes_ += bytes;
        if (error || self->drained_bytes_ > kMaxDrainedBytes) return self->finish();
        self->drain();
    });
}

// ---- A reply that goes on ----

void Session::begin_stream(const Reply& reply, const Manner& manner) {
    ++service_.streams;
    stream_ = reply.stream;
    stream_chunks_ = manner.chunks;
    stream_of_events_ = reply.content_type.starts_with("text/event-stream");
    output_ = header_text(reply, false) + "Cache-Control: no-store\r\n";
    if (stream_chunks_) add_header(output_, "Transfer-Encoding", "chunked");
    output_ += "\r\n";
    writing_ = true;
    write([this] {
        writing_ = false;
        stream_->attach([weak = weak_from_this(), &context = service_.context] {
            asio::post(context, [weak] {
                if (const auto self = weak.lock()) self->pump();
            });
        });
        watch_client();
        pump();
    });
}

// What is there; if nothing is, a comment after a while.
void Session::pump() {
    if (closed_) return;
    if (stream_->gone()) return finish();  // too slow
    if (writing_) return;
    const EventStream::Part part = stream_->take();
    if (!part.text.empty() || part.last) return write_part(part.text, part.last);
    if (stream_of_events_) {
        arm(service_.limits.stream_silence, &Session::beat);
    } else {
        timer_.cancel();
    }
}

void Session::beat() {
    if (!writing_) write_part(kHeartbeat, false);
}

void Session::write_part(const std::string& text, bool last) {
    output_ = stream_chunks_ ? chunk(text) + (last ? "0\r\n\r\n" : "") : text;
    writing_ = true;
    write([this, last] {
        if (last) return end(true);
        writing_ = false;
        pump();
    });
}

void Session::watch_client() {
    transport_->read_some(asio::buffer(drained_), [self = shared_from_this()](Error error, size_t bytes) {
        self->drained_bytes_ += bytes;
        if (error || self->closed_ || self->drained_bytes_ > kMaxDrainedBytes) return self->finish();
        self->watch_client();
    });
}

}  // namespace lagan::http
