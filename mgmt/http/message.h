// SPDX-License-Identifier: BSD-3-Clause
// A request and its reply, free of any HTTP library.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mgmt/http/event_stream.h"

namespace lagan::http {

// Names in the spelling that they were sent in, values without the space around them.
using Headers = std::vector<std::pair<std::string, std::string>>;

// Who sent a request, as far as the connection tells; nothing of it can be made up by the peer.
struct Peer {
    enum class Kind : uint8_t { unix_socket, tcp, tls } kind = Kind::unix_socket;
    std::optional<uint32_t> uid;     // unix_socket: of the process that connected
    std::string address;             // tcp, tls: "192.0.2.1:50000", "[2001:db8::1]:50000"
    bool loopback = false;           // tcp, tls: of this machine
    std::string subject;             // tls: the verified client certificate's, "CN=mgmtd,O=x" (RFC 2253)
    std::vector<std::string> names;  // tls: its alternative names: "DNS:a.example", "IP:192.0.2.1", "URI:x:y"
};

struct Request {
    std::string method;  // "GET"
    std::string target;  // path and query as sent
    std::string body{};
    Headers headers{};
    Peer peer{};

    // Without regard to case; of a field that was sent several times, all values with ", " between them, as
    // RFC 9110 has it. Empty: it was not sent.
    std::string header(std::string_view name) const;
};

struct Reply {
    unsigned status = 200;
    nlohmann::json body{};       // null: none, or `text`
    bool problem = false;        // `body` is an RFC 9457 problem
    std::string text{};          // in place of `body`, of `content_type`
    std::string content_type{};  // of `text`, or of `stream`
    Headers headers{};           // more of them: Allow, Location, WWW-Authenticate
    // In place of a body: what is sent on it goes to the client as it comes, until it ends. The connection
    // ends with it.
    std::shared_ptr<EventStream> stream{};
};

// RFC 9457 (7807): {"type": "about:blank", "title", "status", "detail"}.
Reply problem(unsigned status, const std::string& detail);

// "Not Found"; "Unknown" if it has no name here.
const char* status_title(unsigned status);

// What of it goes over the wire behind the header, and how that is called.
std::string body_text(const Reply& reply);
std::string content_type(const Reply& reply);

}  // namespace lagan::http
