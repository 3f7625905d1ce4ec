// SPDX-License-Identifier: BSD-3-Clause
// HTTP/1.1 on a unix socket. One thread reads and writes; requests are answered by workers in lanes, so that
// answers that take long hold up their own lane only. Connections, header, body and waiting times are
// bounded: a client can hold up nobody but itself.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "appliance/http.h"

namespace lagan::appliance {

struct HttpLimits {
    unsigned max_connections = 64;  // further ones wait in the kernel's queue
    size_t max_body_bytes = 64 * 1024;
    std::chrono::milliseconds timeout =
        std::chrono::seconds(10);  // for a request to arrive whole, or a reply to be taken
};

// Workers of their own for one kind of request.
struct HttpLane {
    unsigned threads = 1;
    unsigned max_requests = 64;    // in progress and waiting; further ones get 503
    const char* what = "another";  // for that reply: "what others wait for"
};

// Neither may throw.
struct HttpHandlers {
    std::vector<HttpLane> lanes{HttpLane{}};
    // The place in `lanes` of a request's. Called on the server's own thread: it must not wait for anything.
    std::function<size_t(const ApiRequest&)> lane_of = [](const ApiRequest&) { return size_t{0}; };
    // On a worker; on as many at once as there are.
    std::function<ApiReply(const ApiRequest&)> handle;
};

class HttpServer {
  public:
    // Makes the socket (mode 0660) and its directory, and serves. A socket file that nobody answers on is
    // replaced. Throws std::runtime_error naming the socket.
    HttpServer(std::filesystem::path socket, HttpHandlers handlers, const HttpLimits& limits = {});

    // Closes all connections, forgets the requests that no worker has begun, waits for those in progress,
    // then for the thread, and removes the socket. Handlers must come to an end: have what they wait for
    // (ControlQueue::close(), the store) stopped first.
    ~HttpServer();
    HttpServer(const HttpServer&) = delete;
    HttpServer& operator=(const HttpServer&) = delete;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace lagan::appliance
