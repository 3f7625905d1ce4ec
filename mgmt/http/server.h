// SPDX-License-Identifier: BSD-3-Clause
// HTTP/1.1 on unix sockets and TCP, with or without TLS. One thread reads and writes; requests are answered
// by workers in lanes, so that answers that take long hold up their own lane only. Connections, header, body
// and waiting times are bounded: a client can hold up nobody but itself.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "mgmt/http/message.h"
#include "mgmt/http/tcp_address.h"
#include "mgmt/http/tls.h"

namespace lagan::http {

// A unix socket (mode 0660; its directory is made; a socket file that nobody answers on is replaced), or an
// address, not a name; port 0: any that is free.
struct Listen {
    std::filesystem::path unix_socket{};
    TcpAddress tcp{};                  // if there is no unix_socket
    std::shared_ptr<const Tls> tls{};  // tcp; null: plain HTTP
};

struct Limits {
    unsigned max_connections = 64;  // of each Listen; further ones wait in the kernel's queue
    unsigned max_of_address = 32;   // of these over TCP from one address; further ones are closed at once
    unsigned max_streams = 32;      // of these all together, that are EventStreams; further ones get 503
    size_t max_body_bytes = 64 * 1024;
    // For a handshake, for a request to arrive whole, or for a reply to be taken.
    std::chrono::milliseconds timeout = std::chrono::seconds(10);
    // Of an event stream, after which a comment is sent, so that connections stay open and dead ones show.
    std::chrono::milliseconds stream_silence = std::chrono::seconds(15);
};

// Workers of their own for one kind of request.
struct Lane {
    unsigned threads = 1;
    unsigned max_requests = 64;    // in progress and waiting; further ones get 503
    const char* what = "another";  // for that reply: "what others wait for"
};

// None of them may throw.
struct Handlers {
    std::vector<Lane> lanes{Lane{}};
    // The place in `lanes` of a request's. Called on the server's own thread: it must not wait for anything.
    std::function<size_t(const Request&)> lane_of = [](const Request&) { return size_t{0}; };
    // On a worker; on as many at once as there are.
    std::function<Reply(const Request&)> handle;
};

class Server {
  public:
    // Serves when it returns. Throws std::runtime_error naming the socket or address.
    Server(std::vector<Listen> where, Handlers handlers, const Limits& limits = {});

    // Closes all connections, forgets the requests that no worker has begun, waits for those in progress,
    // then for the thread, and removes the socket. Handlers must come to an end: have what they wait for
    // stopped first. Streams are gone() then.
    ~Server();
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    // Of the Listen at that place.
    uint16_t tcp_port(size_t listen) const;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace lagan::http
