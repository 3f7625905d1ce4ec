// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/http/transport.h"

#include <sys/socket.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <cstring>

#include "mgmt/http/tcp_address.h"

namespace lagan::http {

namespace asio = boost::asio;

namespace {

class PlainTransport final : public Transport {
  public:
    explicit PlainTransport(Socket socket) : socket_(std::move(socket)) {}

    void shake_hands(Done done) override {
        asio::post(socket_.get_executor(), [done = std::move(done)] { done({}); });
    }
    void read_some(asio::mutable_buffer to, DoneBytes done) override {
        socket_.async_read_some(to, std::move(done));
    }
    void write(asio::const_buffer from, DoneBytes done) override {
        asio::async_write(socket_, from, std::move(done));
    }
    void end_sending(Done done) override {
        Error error;
        socket_.shutdown(Socket::shutdown_send, error);
        asio::post(socket_.get_executor(), [done = std::move(done), error] { done(error); });
    }
    void close() override {
        Error ignored;
        socket_.close(ignored);
    }
    Peer peer() override { return peer_of(socket_); }

  private:
    Socket socket_;
};

}  // namespace

std::unique_ptr<Transport> make_plain_transport(Socket socket) {
    return std::make_unique<PlainTransport>(std::move(socket));
}

Peer peer_of(Socket& socket) {
    Peer peer;
    ucred credentials{};
    socklen_t bytes = sizeof credentials;
    Error error;
    const auto endpoint = socket.remote_endpoint(error);
    if (error) return peer;
    if (endpoint.data()->sa_family == AF_UNIX) {
        if (getsockopt(socket.native_handle(), SOL_SOCKET, SO_PEERCRED, &credentials, &bytes) == 0)
            peer.uid = credentials.uid;
        return peer;
    }
    asio::ip::tcp::endpoint tcp;
    if (endpoint.size() > tcp.capacity()) return peer;
    std::memcpy(tcp.data(), endpoint.data(), endpoint.size());
    peer.kind = Peer::Kind::tcp;
    const TcpAddress address{tcp.address().to_string(), tcp.port()};
    peer.address = to_string(address);
    peer.loopback = is_loopback(address);
    return peer;
}

}  // namespace lagan::http
