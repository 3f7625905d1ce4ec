// SPDX-License-Identifier: BSD-3-Clause
// Calls a server of this folder's kind: HTTP/1.1 over a unix socket or TCP, with or without TLS. Blocking,
// for the control path.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "mgmt/http/message.h"
#include "mgmt/http/tcp_address.h"
#include "mgmt/http/tls.h"

namespace lagan::http {

// Whom to call.
struct Endpoint {
    std::filesystem::path unix_socket{};
    TcpAddress tcp{};  // if there is no unix_socket
    bool tls = false;
};

// "/run/lagan/lagand.sock", "http://HOST:PORT", "https://HOST:PORT" (a "/" at the end does not matter).
// Nothing: it is none of these.
std::optional<Endpoint> parse_endpoint(std::string_view text);
std::string to_string(const Endpoint& endpoint);

struct Response {
    unsigned status = 0;
    Headers headers{};
    std::string body{};
};

struct ClientError : std::runtime_error {
    enum class Kind : uint8_t {
        unreachable,  // nobody there: the request was not sent
        untrusted,    // the TLS handshake failed: it was not sent
        late,         // no answer in time: it may have been carried out
        broken,       // the connection ended, or what came is not HTTP: it may have been carried out
    };
    Kind kind;
    ClientError(Kind k, const std::string& text) : std::runtime_error(text), kind(k) {}
};

struct ClientOptions {
    Endpoint to{};
    std::shared_ptr<const Tls> tls{};  // client_tls(), if `to` wants it
    std::chrono::milliseconds timeout =
        std::chrono::seconds(10);  // of a whole call, but for looking up a name
    size_t max_reply_bytes = 16U << 20;
};

// One connection per call. Any number of threads may share it.
class Client {
  public:
    // Throws std::invalid_argument if TLS is wanted, and there is none.
    explicit Client(ClientOptions options);

    // A reply with whatever status. Throws ClientError, whose text begins with the endpoint; with text of the
    // caller's that cannot be in a request, std::invalid_argument. Host, Connection and Content-Length are
    // added; with a body and no Content-Type, that is application/json.
    Response call(const std::string& method, const std::string& target, const std::string& body = {},
                  const Headers& headers = {}) const;

    // GET of a reply that goes on, such as an EventStream. `take` gets the body of a reply with status 200
    // piece by piece; false from it ends the call, and so does the server. The timeout is then that of each
    // piece: servers of this kind send a comment every 15 s. What is returned has the body only of other
    // statuses. Throws as call() does; what was taken was taken.
    Response follow(const std::string& target, const Headers& headers,
                    const std::function<bool(std::string_view)>& take) const;

  private:
    const ClientOptions options_;
};

}  // namespace lagan::http
