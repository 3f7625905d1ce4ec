// SPDX-License-Identifier: BSD-3-Clause
// One connection's bytes, with or without TLS: what server and client share. Inside mgmt/http only.
#pragma once

#include <boost/asio/buffer.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/system/error_code.hpp>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "mgmt/http/message.h"
#include "mgmt/http/tls.h"

namespace lagan::http {

using Socket = boost::asio::generic::stream_protocol::socket;
using Error = boost::system::error_code;

// All functions: the I/O thread's. At most one read and one write at a time. What is under way when the
// connection is closed ends with an error, later.
class Transport {
  public:
    using Done = std::function<void(Error)>;
    using DoneBytes = std::function<void(Error, size_t)>;

    virtual ~Transport() = default;

    // First of all.
    virtual void shake_hands(Done done) = 0;
    virtual void read_some(boost::asio::mutable_buffer to, DoneBytes done) = 0;
    // All of it. The memory stays as it is until then.
    virtual void write(boost::asio::const_buffer from, DoneBytes done) = 0;
    // Tells the peer that nothing more will come.
    virtual void end_sending(Done done) = 0;
    virtual void close() = 0;
    // After the handshake.
    virtual Peer peer() = 0;
};

std::unique_ptr<Transport> make_plain_transport(Socket socket);

// The part of a Peer that the socket tells.
Peer peer_of(Socket& socket);

// What a Tls is behind its back (tls.cc).
class TlsContext : public Tls {
  public:
    // `server_name`: for a client, whom the certificate must be of.
    virtual std::unique_ptr<Transport> wrap(Socket socket, const std::string& server_name) const = 0;
};

}  // namespace lagan::http
