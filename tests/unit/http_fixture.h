// SPDX-License-Identifier: BSD-3-Clause
// A server that says what it was asked, on a unix socket and by TCP, and sockets on which anything can be
// said to it.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>

#include "mgmt/http/client.h"
#include "mgmt/http/server.h"

namespace lagan::test {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

struct Folder {
    fs::path path;
    Folder() {
        std::string name = (fs::temp_directory_path() / "lagan-http-XXXXXX").string();
        BOOST_REQUIRE(mkdtemp(name.data()) != nullptr);
        path = name;
    }
    ~Folder() { fs::remove_all(path); }
};

// A client that writes what it likes.
class RawSocket {
  public:
    explicit RawSocket(const fs::path& path) : fd_(::socket(AF_UNIX, SOCK_STREAM, 0)) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path.native().copy(address.sun_path, sizeof address.sun_path - 1);
        BOOST_REQUIRE(connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    }
    // `from`: another of this machine's addresses.
    explicit RawSocket(uint16_t port, uint32_t from = INADDR_LOOPBACK)
        : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(from);
        BOOST_REQUIRE(bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        BOOST_REQUIRE(connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    }
    ~RawSocket() { close(fd_); }
    RawSocket(const RawSocket&) = delete;
    RawSocket& operator=(const RawSocket&) = delete;

    void send(const std::string& text) const { ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL); }
    void end_sending() const { shutdown(fd_, SHUT_WR); }
    // What comes until `enough` says so, the server closes, or nothing comes for half a minute.
    std::string receive(const std::function<bool(const std::string&)>& enough = [](const auto&) {
        return false;
    }) const {
        timeval limit{.tv_sec = 30, .tv_usec = 0};
        setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        std::string all;
        char block[4096];
        while (!enough(all)) {
            const ssize_t bytes = recv(fd_, block, sizeof block, 0);
            if (bytes <= 0) break;
            all.append(block, static_cast<size_t>(bytes));
        }
        return all;
    }

  private:
    int fd_;
};

// What was asked, and by whom.
inline http::Reply echo(const http::Request& request) {
    nlohmann::json headers = nlohmann::json::object();
    for (const auto& [name, value] : request.headers)
        headers[name] = value;
    const http::Peer& peer = request.peer;
    return {.body = {{"method", request.method},
                     {"target", request.target},
                     {"body", request.body},
                     {"headers", headers},
                     {"authorization", request.header("authorization")},
                     {"kind", static_cast<int>(peer.kind)},
                     {"uid", peer.uid ? nlohmann::json(*peer.uid) : nlohmann::json()},
                     {"address", peer.address},
                     {"loopback", peer.loopback},
                     {"subject", peer.subject},
                     {"names", peer.names}}};
}

inline nlohmann::json asked(const http::Client& client, const std::string& target,
                            const http::Headers& headers = {}) {
    const http::Response response = client.call("GET", target, {}, headers);
    BOOST_TEST(response.status == 200U);
    return nlohmann::json::parse(response.body);
}

inline std::string header_of(const http::Response& response, const std::string& name) {
    return http::Request{.headers = response.headers}.header(name);
}

}  // namespace lagan::test
