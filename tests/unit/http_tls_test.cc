// SPDX-License-Identifier: BSD-3-Clause
// TLS on both sides: who gets through, who does not, and what a handler gets to know of them.
#define BOOST_TEST_MODULE http_tls
#include <sys/stat.h>

#include <fstream>

#include "tests/unit/certificates.h"
#include "tests/unit/http_fixture.h"

using namespace lagan;
using namespace lagan::test;
using Kind = http::ClientError::Kind;

namespace {

struct Fixture {
    Folder folder;
    Authority ours{folder.path, "ours"};
    Authority other{folder.path, "other"};
    std::unique_ptr<http::Server> server;

    Fixture() {
        ours.issue("node", "IP:127.0.0.1,DNS:localhost");
        ours.issue("manager", "DNS:manager.example,URI:lagan:manager,IP:192.0.2.7,email:a@b.example");
        server = std::make_unique<http::Server>(
            std::vector<http::Listen>{{.tcp = {"127.0.0.1", 0},
                                       .tls = http::server_tls({.certificate = ours.certificate_of("node"),
                                                                .key = ours.key_of("node"),
                                                                .client_ca = ours.file()})}},
            http::Handlers{.handle = echo}, http::Limits{.timeout = 2s});
    }
    uint16_t port() const { return server->tcp_port(0); }
    http::Client client(const Authority& authority, const std::string& name,
                        const std::string& host = "127.0.0.1") const {
        http::ClientTlsFiles files{.ca = ours.file()};
        if (!name.empty()) {
            files.certificate = authority.certificate_of(name);
            files.key = authority.key_of(name);
        }
        return client_with(files, host);
    }
    http::Client client_with(const http::ClientTlsFiles& files, const std::string& host = "127.0.0.1") const {
        return http::Client({.to = {.tcp = {host, port()}, .tls = true}, .tls = http::client_tls(files)});
    }
};

// The server's refusal comes with the handshake's end, or, in TLS 1.3, just behind it.
bool refused(const http::ClientError& error) {
    return error.kind == Kind::untrusted || error.kind == Kind::broken;
}

}  // namespace

BOOST_FIXTURE_TEST_CASE(a_client_of_the_right_authority_is_known, Fixture) {
    const auto reply = asked(client(ours, "manager"), "/echo");
    BOOST_TEST(reply["kind"] == static_cast<int>(http::Peer::Kind::tls));
    BOOST_TEST(reply["subject"] == "CN=manager");
    BOOST_TEST(reply["names"] == nlohmann::json({"DNS:manager.example", "URI:lagan:manager", "IP:192.0.2.7",
                                                 "email:a@b.example"}));
    BOOST_TEST(reply["loopback"] == true);
    BOOST_TEST(reply["address"].get<std::string>().starts_with("127.0.0.1:"));
    BOOST_TEST(asked(client(ours, "manager", "localhost"), "/echo")["target"] == "/echo");
    const std::string large(60'000, 'x');
    BOOST_TEST(client(ours, "manager").call("POST", "/", large).body.find(large) != std::string::npos);
    BOOST_TEST(client(ours, "manager").call("POST", "/", std::string(3'000'000, 'x')).status == 413U);
}

BOOST_FIXTURE_TEST_CASE(everybody_else_is_refused, Fixture) {
    other.issue("stranger", nullptr);
    ours.issue("expired", nullptr, nullptr, -7200, -3600);
    ours.issue("early", nullptr, nullptr, 3600, 7200);
    ours.issue("server-only", nullptr, "serverAuth");
    for (const auto& [authority, name] : {std::pair{&ours, ""},
                                          {&other, "stranger"},
                                          {&ours, "expired"},
                                          {&ours, "early"},
                                          {&ours, "server-only"}})
        BOOST_TEST_CONTEXT("client " << name)
    BOOST_CHECK_EXCEPTION(client(*authority, name).call("GET", "/"), http::ClientError, refused);
    BOOST_TEST(asked(client(ours, "manager"), "/")["target"] == "/");
}

BOOST_FIXTURE_TEST_CASE(a_server_that_is_somebody_else_is_not_believed, Fixture) {
    const auto untrusted = [](const http::ClientError& error) {
        return error.kind == Kind::untrusted && std::string(error.what()).find("https://127.0.0.1:") == 0;
    };
    // Signed by somebody else.
    BOOST_CHECK_EXCEPTION(client_with({.ca = other.file()}).call("GET", "/"), http::ClientError, untrusted);
    // By the right authority, for another name, or for a time that is over.
    ours.issue("elsewhere", "DNS:elsewhere.example,IP:127.0.0.2");
    ours.issue("late", "IP:127.0.0.1", nullptr, -7200, -3600);
    for (const char* name : {"elsewhere", "late"}) {
        const http::Server wrong(
            {{.tcp = {"127.0.0.1", 0},
              .tls = http::server_tls({.certificate = ours.certificate_of(name), .key = ours.key_of(name)})}},
            {.handle = echo});
        const http::Client client({.to = {.tcp = {"127.0.0.1", wrong.tcp_port(0)}, .tls = true},
                                   .tls = http::client_tls({.ca = ours.file()})});
        BOOST_CHECK_EXCEPTION(client.call("GET", "/"), http::ClientError, untrusted);
    }
}

BOOST_FIXTURE_TEST_CASE(what_is_not_tls_gets_nothing, Fixture) {
    for (const std::string& text :
         {std::string("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), std::string(70000, '\0'),
          std::string("\x16\x03\x01\x40\x00", 5) + std::string(20000, '\x01'),
          std::string("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03", 10)}) {
        const RawSocket raw(port());
        raw.send(text);
        BOOST_TEST(raw.receive().find("HTTP") == std::string::npos);
    }
    const RawSocket silent(port());
    BOOST_TEST(silent.receive().empty());  // until the server's patience ends
    BOOST_TEST(asked(client(ours, "manager"), "/")["target"] == "/");
}

BOOST_FIXTURE_TEST_CASE(files_that_are_wrong_are_named, Fixture) {
    const auto names = [](const char* part) {
        return [part](const std::runtime_error& error) {
            BOOST_TEST_MESSAGE(error.what());
            return std::string(error.what()).find(part) != std::string::npos;
        };
    };
    const http::ServerTlsFiles good{.certificate = ours.certificate_of("node"), .key = ours.key_of("node")};
    auto files = good;
    files.certificate = folder.path / "none.pem";
    BOOST_CHECK_EXCEPTION(http::server_tls(files), std::runtime_error,
                          names("none.pem: cannot read a certificate: No such file"));
    files = good;
    files.key = folder.path / "none.key";
    BOOST_CHECK_EXCEPTION(http::server_tls(files), std::runtime_error,
                          names("none.key: cannot read the key"));
    files.key = ours.key_of("manager");
    BOOST_CHECK_EXCEPTION(http::server_tls(files), std::runtime_error, names("manager.key: "));
    files = good;
    files.client_ca = folder.path / "empty";
    std::ofstream{files.client_ca};
    BOOST_CHECK_EXCEPTION(http::server_tls(files), std::runtime_error, names("empty: cannot read CA"));
    chmod(good.key.c_str(), 0644);
    BOOST_CHECK_EXCEPTION(http::server_tls(good), std::runtime_error, names("chmod o-rwx"));
    BOOST_CHECK_THROW(http::Client({.to = {.tcp = {"127.0.0.1", 1}, .tls = true}}), std::invalid_argument);
}
