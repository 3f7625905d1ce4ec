// SPDX-License-Identifier: BSD-3-Clause
// HTTP/1.1 on a unix socket, on one thread of its own. Connections, header, body and waiting times are
// bounded, so that a client can hold up nobody but itself.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>

#include "appliance/http.h"

namespace lagan::appliance {

struct HttpLimits {
    unsigned max_connections = 64;  // further ones wait in the kernel's queue
    size_t max_body_bytes = 64 * 1024;
    std::chrono::milliseconds timeout =
        std::chrono::seconds(10);  // for a request to arrive whole, or a reply to be taken
};

class HttpServer {
  public:
    using Handler = std::function<ApiReply(const ApiRequest&)>;

    // Makes the socket (mode 0660) and its directory, and serves. A socket file that nobody answers on is
    // replaced. Calls `handler`, which must not throw, on the server's thread, one request at a time. Throws
    // std::runtime_error naming the socket.
    HttpServer(std::filesystem::path socket, Handler handler, const HttpLimits& limits = {});

    // Closes all connections, waits for the thread, removes the socket. The handler must not be stuck: close
    // what it waits for first.
    ~HttpServer();
    HttpServer(const HttpServer&) = delete;
    HttpServer& operator=(const HttpServer&) = delete;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace lagan::appliance
