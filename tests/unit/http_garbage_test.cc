// SPDX-License-Identifier: BSD-3-Clause
// Requests cut off, changed and made up, over a unix socket, TCP and TLS: the server answers with a status or
// not at all, and goes on serving everybody else.
#define BOOST_TEST_MODULE http_garbage
#include <random>

#include "tests/unit/certificates.h"
#include "tests/unit/http_fixture.h"
#include "tests/unit/logged_seed.h"

using namespace lagan;
using namespace lagan::test;

namespace {

const std::string kPost =
    "POST /v1/regions?a=b HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer y\r\nConnection: close\r\n"
    "Content-Type: application/json\r\nContent-Length: 20\r\n\r\n{\"name\": \"a\", \"b\":1}";
const std::string kChunked =
    "PUT / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    "5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nTrailer: x\r\n\r\n";

struct Fixture {
    Folder folder;
    Authority ours{folder.path, "ours"};
    fs::path socket = folder.path / "api.sock";
    std::unique_ptr<http::Server> server;

    Fixture() {
        ours.issue("node", "IP:127.0.0.1");
        const auto tls = http::server_tls({.certificate = ours.certificate_of("node"),
                                           .key = ours.key_of("node"),
                                           .client_ca = ours.file()});
        server = std::make_unique<http::Server>(
            std::vector<http::Listen>{{.unix_socket = socket}, {.tcp = {"127.0.0.1", 0}, .tls = tls}},
            http::Handlers{.handle = echo}, http::Limits{.max_connections = 8, .timeout = 5s});
    }
    ~Fixture() {
        // Everybody is still served.
        BOOST_TEST(asked(http::Client({.to = {.unix_socket = socket}}), "/")["method"] == "GET");
        ours.issue("client", nullptr);
        BOOST_TEST(asked(http::Client({.to = {.tcp = {"127.0.0.1", server->tcp_port(1)}, .tls = true},
                                       .tls = http::client_tls({.ca = ours.file(),
                                                                .certificate = ours.certificate_of("client"),
                                                                .key = ours.key_of("client")})}),
                         "/")["method"] == "GET");
    }
    void check(const std::string& text) const {
        const RawSocket raw(socket);
        raw.send(text);
        raw.end_sending();
        const std::string reply = raw.receive();
        BOOST_REQUIRE_MESSAGE(reply.empty() || reply.starts_with("HTTP/1.1 "),
                              "reply to " << nlohmann::json(text).dump(
                                  -1, ' ', true, nlohmann::json::error_handler_t::replace));
    }
};

std::string changed(std::string text, std::mt19937_64& random) {
    for (uint64_t changes = 1 + random() % 4; changes > 0 && !text.empty(); --changes) {
        const size_t at = random() % text.size();
        switch (random() % 5) {
            case 0:
                text[at] = static_cast<char>(random());
                break;
            case 1:
                text.erase(at, 1 + random() % 8);
                break;
            case 2:
                text.insert(at, text.substr(random() % text.size(), random() % 40));
                break;
            case 3:
                text.insert(at, random() % 20'000, static_cast<char>(random()));
                break;
            default:
                text.resize(at);
        }
    }
    return text;
}

}  // namespace

BOOST_FIXTURE_TEST_CASE(requests_cut_off_anywhere, Fixture) {
    for (const std::string& whole : {kPost, kChunked})
        for (size_t bytes = 0; bytes <= whole.size(); ++bytes)
            check(whole.substr(0, bytes));
}

BOOST_FIXTURE_TEST_CASE(requests_changed_at_random, Fixture) {
    auto random = seeded_random();
    for (int round = 0; round < 3000; ++round)
        check(changed(random() % 2 == 0 ? kPost : kChunked, random));
}

BOOST_FIXTURE_TEST_CASE(a_body_that_is_too_large_is_refused_in_every_form, Fixture) {
    const std::string put = "PUT / HTTP/1.1\r\nConnection: close\r\n";
    for (const size_t bytes : {65'536U, 65'537U, 70'000U, 200'000U}) {
        const std::string body(bytes, 'x');
        const std::string length = std::to_string(bytes);
        char hex[16];
        std::snprintf(hex, sizeof hex, "%zx", bytes);
        for (const std::string& text :
             {put + "Content-Length: " + length + "\r\n\r\n" + body,
              put + "Transfer-Encoding: chunked\r\n\r\n" + hex + "\r\n" + body + "\r\n0\r\n\r\n"}) {
            const RawSocket raw(socket);
            raw.send(text);
            const std::string wanted = bytes > 65'536 ? "HTTP/1.1 413" : "HTTP/1.1 200";
            BOOST_TEST(raw.receive().starts_with(wanted), bytes);
        }
    }
}

BOOST_FIXTURE_TEST_CASE(byte_by_byte_it_is_the_same_request, Fixture) {
    for (const std::string& whole : {kPost, kChunked}) {
        const RawSocket raw(socket);
        for (const char byte : whole)
            raw.send(std::string(1, byte));
        BOOST_TEST(raw.receive().starts_with("HTTP/1.1 200 OK"));
    }
}

BOOST_FIXTURE_TEST_CASE(things_without_end, Fixture) {
    for (const std::string& text :
         {std::string(200'000, 'G'), "GET / HTTP/1.1\r\n" + std::string(200'000, 'a'),
          "GET /" + std::string(200'000, 'a'),
          "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;" + std::string(300'000, 'x'),
          "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + std::string(300'000, '0')}) {
        const RawSocket raw(socket);
        raw.send(text);
        const std::string reply = raw.receive();
        BOOST_TEST((reply.empty() || reply.starts_with("HTTP/1.1 4")), reply.substr(0, 40));
    }
}

BOOST_FIXTURE_TEST_CASE(bytes_that_are_no_tls, Fixture) {
    auto random = seeded_random();
    for (int round = 0; round < 300; ++round) {
        std::string text = random() % 2 == 0 ? std::string("\x16\x03\x01", 3) : std::string();
        for (uint64_t bytes = random() % 600; bytes > 0; --bytes)
            text += static_cast<char>(random());
        const RawSocket raw(server->tcp_port(1));
        raw.send(text);
        raw.end_sending();
        BOOST_REQUIRE(raw.receive().find("HTTP") == std::string::npos);
    }
}
