// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/http/server.h"

#include <sys/socket.h>

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <map>
#include <set>
#include <thread>

#include "mgmt/http/session.h"
#include "mgmt/http/tcp_listener.h"
#include "mgmt/http/unix_listener.h"

namespace lagan::http {

namespace asio = boost::asio;
using asio::generic::stream_protocol;

namespace {

constexpr auto kAcceptAgain = std::chrono::milliseconds(100);

// A Listen at work; the I/O thread's.
struct Door {
    Service& service;
    std::deque<LaneState>& lanes;
    const std::shared_ptr<const Tls> tls;
    std::optional<UnixListener> file{};
    uint16_t tcp_port = 0;
    asio::basic_socket_acceptor<stream_protocol> acceptor{service.context};
    asio::steady_timer accept_again{service.context};
    std::set<std::shared_ptr<Session>> sessions{};
    std::map<std::string, unsigned> of_address{};  // sessions over TCP
    bool accepting = false;

    void open(const Listen& where);
    void accept();
    void begin(Socket socket);
    void close();
};

void Door::open(const Listen& where) {
    int fd = 0, family = AF_UNIX;
    if (where.unix_socket.empty()) {
        fd = listen_tcp(where.tcp);
        tcp_port = port_of(fd);
        family = where.tcp.host.find(':') == std::string::npos ? AF_INET : AF_INET6;
    } else {
        fd = file.emplace(where.unix_socket).release();
    }
    acceptor.assign(stream_protocol(family, family == AF_UNIX ? 0 : IPPROTO_TCP), fd);
}

void Door::accept() {
    if (accepting || !acceptor.is_open() || sessions.size() >= service.limits.max_connections) return;
    accepting = true;
    const auto socket = std::make_shared<Socket>(service.context);
    acceptor.async_accept(*socket, [this, socket](Error error) {
        accepting = false;
        // It may have come in before close(), and be told of only now: nobody would close it any more.
        if (error == asio::error::operation_aborted || !acceptor.is_open()) return;
        if (error) {  // out of file descriptors, most likely: try again when some may have been closed
            accept_again.expires_after(kAcceptAgain);
            accept_again.async_wait([this](Error aborted) {
                if (!aborted) accept();
            });
            return;
        }
        begin(std::move(*socket));
        accept();
    });
}

// "10.0.0.1"; of a unix socket: nothing.
std::string address_of(Socket& socket) {
    const std::string address = peer_of(socket).address;
    return address.substr(0, address.rfind(':'));
}

void Door::begin(Socket socket) {
    Error ignored;
    const std::string from = address_of(socket);
    if (!file && of_address[from] >= service.limits.max_of_address) return;
    if (!file) socket.set_option(asio::ip::tcp::no_delay(true), ignored);
    std::unique_ptr<Transport> transport;
    try {
        transport = tls ? static_cast<const TlsContext&>(*tls).wrap(std::move(socket), {})
                        : make_plain_transport(std::move(socket));
    } catch (const std::exception&) {
        return;  // no memory for a TLS connection
    }
    const auto session = std::make_shared<Session>(service, lanes, std::move(transport),
                                                   [this, from](const std::shared_ptr<Session>& ended) {
                                                       sessions.erase(ended);
                                                       if (--of_address[from] == 0) of_address.erase(from);
                                                       accept();
                                                   });
    sessions.insert(session);
    ++of_address[from];
    session->begin();
}

void Door::close() {
    Error ignored;
    accept_again.cancel();
    acceptor.close(ignored);
    for (const auto& session : sessions)
        session->close();
}

}  // namespace

struct Server::Impl {
    Service service;
    std::deque<Door> doors;
    std::deque<LaneState> lanes;  // last: what waits in them holds sessions
    asio::executor_work_guard<asio::io_context::executor_type> until_destroyed{
        service.context.get_executor()};
    std::thread thread;

    Impl(std::vector<Listen> where, Handlers handlers, const Limits& limits)
        : service{.handlers = std::move(handlers), .limits = limits} {
        for (const Lane& lane : service.handlers.lanes)
            lanes.emplace_back(lane);
        for (const Listen& listen : where) {
            doors.emplace_back(service, lanes, listen.tls).open(listen);
        }
        for (Door& door : doors)
            door.accept();
        thread = std::thread([this] { service.context.run(); });
    }

    ~Impl() {
        asio::post(service.context, [this] {
            for (Door& door : doors)
                door.close();
        });
        for (LaneState& lane : lanes)
            lane.workers.stop();
        for (LaneState& lane : lanes)
            lane.workers.join();
        until_destroyed.reset();
        thread.join();
    }
};

Server::Server(std::vector<Listen> where, Handlers handlers, const Limits& limits)
    : impl_(std::make_unique<Impl>(std::move(where), std::move(handlers), limits)) {}

Server::~Server() = default;

uint16_t Server::tcp_port(size_t listen) const {
    return impl_->doors.at(listen).tcp_port;
}

}  // namespace lagan::http
