// SPDX-License-Identifier: BSD-3-Clause
// TLS 1.2 and newer for servers and clients. Files are PEM and read once, when the object is made.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

namespace lagan::http {

// Any number of servers or clients may share one; any thread.
class Tls {
  public:
    virtual ~Tls() = default;
};

struct ServerTlsFiles {
    std::filesystem::path certificate;  // with the chain up to its CA, if there is one between
    std::filesystem::path key;          // not readable by others than owner and group
    std::filesystem::path client_ca;    // empty: clients need no certificate
};

// With a client_ca, only clients get through the handshake whose certificate it has signed, for the use of
// TLS clients, and which is valid now. Throws std::runtime_error that names the file.
std::shared_ptr<const Tls> server_tls(const ServerTlsFiles& files);

struct ClientTlsFiles {
    std::filesystem::path ca;           // of the server's certificate; empty: the system's
    std::filesystem::path certificate;  // ours; empty: none
    std::filesystem::path key;
};

// The server's certificate must be valid now, signed by the CA, and made out to the name or address that is
// connected to. Throws std::runtime_error that names the file.
std::shared_ptr<const Tls> client_tls(const ClientTlsFiles& files);

}  // namespace lagan::http
