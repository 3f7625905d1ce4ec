// SPDX-License-Identifier: BSD-3-Clause
// The HTTP server: lanes (what takes long holds up its own kind only, and ends with the server), what
// handlers get to know, and replies that go on.
#define BOOST_TEST_MODULE http_server
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>
#include <vector>

#include "tests/unit/http_fixture.h"

using namespace lagan;
using namespace lagan::test;
using http::Response;

namespace {

constexpr http::Limits kLimits{.max_streams = 2, .timeout = 60s, .stream_silence = 50ms};

// Not std::counting_semaphore: with GCC 12 a waiter may miss a release when another takes one of two.
class Gate {
  public:
    void release(unsigned count) {
        const std::lock_guard lock(mutex_);
        open_for_ += count;
        opened_.notify_all();
    }
    void acquire() {
        std::unique_lock lock(mutex_);
        opened_.wait(lock, [this] { return open_for_ != 0; });
        --open_for_;
    }

  private:
    std::mutex mutex_;
    std::condition_variable opened_;
    unsigned open_for_ = 0;  // under mutex_
};

// "/slow" waits until it is let go, "/stream..." goes on; everything else is answered at once.
struct Fixture {
    Folder folder;
    fs::path socket = folder.path / "api.sock";
    Gate let_go;
    std::atomic<unsigned> begun{0}, ended{0};
    std::shared_ptr<http::EventStream> stream = std::make_shared<http::EventStream>(100'000);
    std::unique_ptr<http::Server> server = std::make_unique<http::Server>(
        std::vector<http::Listen>{{.unix_socket = socket}, {.tcp = {"127.0.0.1", 0}}},
        http::Handlers{
            .lanes = {{.threads = 1}, {.threads = 2, .max_requests = 3, .what = "Godot"}},
            .lane_of = [](const http::Request& request) { return request.target == "/slow" ? 1U : 0U; },
            .handle = [this](const http::Request& request) { return handle(request); }},
        kLimits);

    ~Fixture() {
        let_go.release(500);
        server.reset();
    }
    http::Reply handle(const http::Request& request) {
        if (request.target == "/stream") return {.content_type = "text/event-stream", .stream = stream};
        if (request.target == "/more")
            return {.content_type = "text/event-stream", .stream = std::make_shared<http::EventStream>()};
        if (request.target == "/text") return {.text = "a 1\n", .content_type = "text/plain; version=0.0.4"};
        if (request.target == "/evil") return {.headers = {{"Location", "/a\r\nSet-Cookie: x"}}};
        if (request.target == "/slow") {
            ++begun;
            let_go.acquire();
            ++ended;
        }
        return echo(request);
    }
    http::Client client(std::chrono::milliseconds timeout = 60s) const {
        return http::Client({.to = {.unix_socket = socket}, .timeout = timeout});
    }
    http::Client tcp_client() const {
        return http::Client({.to = {.tcp = {"localhost", server->tcp_port(1)}}, .timeout = 60s});
    }
    std::future<Response> ask(const std::string& target) const {
        return std::async(std::launch::async, [this, target] { return client().call("GET", target); });
    }
    void wait_for(unsigned count) const {
        while (begun < count)
            std::this_thread::sleep_for(1ms);
    }
};

const std::string kGet = "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n";

std::function<bool(const std::string&)> has(const std::string& part) {
    return [part](const std::string& all) { return all.find(part) != std::string::npos; };
}

}  // namespace

BOOST_FIXTURE_TEST_CASE(what_waits_holds_only_its_own_kind_up, Fixture) {
    std::vector<std::future<Response>> slow;
    for (int i = 0; i < 6; ++i)
        slow.push_back(ask("/slow"));
    // Two workers, a third request that waits: the others are refused.
    const auto refused = [&] {
        return std::count_if(slow.begin(), slow.end(), [](const auto& reply) {
            return reply.wait_for(0s) == std::future_status::ready;
        });
    };
    while (refused() < 3)
        std::this_thread::sleep_for(1ms);
    for (int i = 0; i < 100; ++i)
        BOOST_TEST(client().call("GET", "/quick").status == 200U);
    BOOST_TEST(refused() == 3);
    wait_for(2);
    BOOST_TEST(begun == 2U);
    let_go.release(3);
    unsigned good = 0, bad = 0;
    for (auto& future : slow) {
        const Response reply = future.get();
        good += reply.status == 200;
        bad += reply.status == 503 && has("3 requests wait for Godot already")(reply.body);
    }
    BOOST_TEST(good == 3U);
    BOOST_TEST(bad == 3U);
    auto again = ask("/slow");
    let_go.release(3);
    BOOST_TEST(again.get().status == 200U);
}

BOOST_FIXTURE_TEST_CASE(the_end_waits_for_what_was_begun_and_for_nothing_else, Fixture) {
    std::vector<std::future<Response>> slow;
    for (int i = 0; i < 3; ++i)
        slow.push_back(ask("/slow"));
    wait_for(2);
    auto end = std::async(std::launch::async, [this] { server.reset(); });
    // All callers lose their connections at once, whether they were begun or not.
    for (auto& future : slow)
        BOOST_CHECK_THROW(future.get(), http::ClientError);
    BOOST_TEST((end.wait_for(0s) == std::future_status::timeout));
    let_go.release(2);
    end.get();
    BOOST_TEST(begun == 2U);
    BOOST_TEST(ended == 2U);
}

BOOST_FIXTURE_TEST_CASE(callers_that_leave_harm_nobody, Fixture) {
    while (begun == 0)
        BOOST_CHECK_THROW(client(200ms).call("GET", "/slow"), http::ClientError);
    let_go.release(begun);
    auto again = ask("/slow");
    let_go.release(3);
    BOOST_TEST(again.get().status == 200U);
}

BOOST_FIXTURE_TEST_CASE(handlers_know_what_was_sent_and_by_whom, Fixture) {
    auto reply = asked(client(), "/a?b=c", {{"Authorization", "Bearer x"}, {"Idempotency-Key", " 7 "}});
    BOOST_TEST(reply["target"] == "/a?b=c");
    BOOST_TEST(reply["authorization"] == "Bearer x");
    BOOST_TEST(reply["headers"]["Idempotency-Key"] == "7");
    BOOST_TEST(reply["kind"] == static_cast<int>(http::Peer::Kind::unix_socket));
    BOOST_TEST(reply["uid"] == getuid());
    BOOST_TEST(reply["subject"] == "");
    // What is sent twice cannot pass for either.
    reply = asked(client(), "/", {{"Authorization", "Bearer x"}, {"authorization", "Bearer y"}});
    BOOST_TEST(reply["authorization"] == "Bearer x, Bearer y");

    reply = asked(tcp_client(), "/");
    BOOST_TEST(reply["kind"] == static_cast<int>(http::Peer::Kind::tcp));
    BOOST_TEST(reply["uid"].is_null());
    BOOST_TEST(reply["loopback"] == true);
    BOOST_TEST(reply["address"].get<std::string>().starts_with("127.0.0.1:"));
}

BOOST_FIXTURE_TEST_CASE(replies_of_other_kinds, Fixture) {
    const Response text = client().call("GET", "/text");
    BOOST_TEST(text.body == "a 1\n");
    BOOST_TEST(header_of(text, "content-type") == "text/plain; version=0.0.4");
    const Response head = client().call("HEAD", "/text");
    BOOST_TEST(head.body.empty());
    BOOST_TEST(header_of(head, "content-length") == "4");
    const Response evil = client().call("GET", "/evil");
    BOOST_TEST(header_of(evil, "location") == "/a  Set-Cookie: x");
    BOOST_TEST(header_of(evil, "set-cookie").empty());
}

BOOST_FIXTURE_TEST_CASE(the_client_sends_nothing_that_is_no_request_and_takes_no_more_than_it_wants,
                        Fixture) {
    BOOST_CHECK_THROW(client().call("GET", "/a b"), std::invalid_argument);
    BOOST_CHECK_THROW(client().call("GET", "/\r\nX: y"), std::invalid_argument);
    BOOST_CHECK_THROW(client().call("GET", "/", {}, {{"X", "a\nb"}}), std::invalid_argument);
    const http::Client small({.to = {.unix_socket = socket}, .max_reply_bytes = 100});
    BOOST_CHECK_THROW(small.call("GET", "/"), http::ClientError);
    for (const char* text : {"http://a.example:80", "https://[::1]:443/", "/run/x.sock"})
        BOOST_TEST(http::parse_endpoint(text).has_value(), text);
    for (const char* text : {"", "x", "ftp://a:1", "http://a", "http://a:1/b", "http://[a]:1", "http://::1:1",
                             "http://a:99999", "http://a:1:1", "https://:1", "http://-a:1"})
        BOOST_TEST(!http::parse_endpoint(text).has_value(), text);
}

BOOST_FIXTURE_TEST_CASE(a_stream_brings_what_is_sent_and_ends, Fixture) {
    stream->send(http::format_event("1", "first", "a\nb"));
    const RawSocket raw(server->tcp_port(1));
    raw.send(kGet);
    std::string all = raw.receive(has("data: b\n\n"));
    BOOST_TEST(has("HTTP/1.1 200 OK\r\n")(all));
    BOOST_TEST(has("Content-Type: text/event-stream\r\n")(all));
    BOOST_TEST(has("id: 1\nevent: first\ndata: a\ndata: b\n\n")(all));
    // In silence, signs of life.
    BOOST_TEST(has(":\n\n")(raw.receive(has(":\n\n"))));
    BOOST_TEST(stream->send(http::format_event("2\r\n", "", "")));
    BOOST_TEST(has("id: 2\ndata: \n\n")(raw.receive(has("data: \n\n"))));
    stream->end();
    BOOST_TEST(raw.receive().ends_with("0\r\n\r\n"));
    BOOST_TEST(!stream->send("x"));
}

BOOST_FIXTURE_TEST_CASE(a_client_of_http_1_0_gets_no_chunks, Fixture) {
    const RawSocket raw(socket);
    raw.send("GET /stream HTTP/1.0\r\n\r\n");
    stream->send("data: x\n\n");
    stream->end();
    const std::string all = raw.receive();
    BOOST_TEST(!has("chunked")(all));
    BOOST_TEST(has("\r\n\r\ndata: x\n\n")(all));
}

BOOST_FIXTURE_TEST_CASE(a_client_that_leaves_ends_its_stream, Fixture) {
    {
        const RawSocket raw(socket);
        raw.send(kGet);
        raw.receive(has("\r\n\r\n"));
        BOOST_TEST(!stream->gone());
    }
    while (!stream->gone())
        std::this_thread::sleep_for(1ms);
    BOOST_TEST(!stream->send("x"));
}

BOOST_FIXTURE_TEST_CASE(a_client_that_does_not_read_is_disconnected, Fixture) {
    const RawSocket raw(socket);
    raw.send(kGet);
    raw.receive(has("\r\n\r\n"));
    const std::string event = "data: " + std::string(10'000, 'x') + "\n\n";
    unsigned sent = 0;
    while (stream->send(event))
        ++sent;
    BOOST_TEST(sent >= 9U);  // what may wait
    BOOST_TEST(stream->gone());
    BOOST_TEST(!raw.receive().ends_with("0\r\n\r\n"));  // broken off, and not ended
}

BOOST_FIXTURE_TEST_CASE(streams_are_limited_and_do_not_keep_others_out, Fixture) {
    const RawSocket first(socket), second(socket);
    for (const RawSocket* each : {&first, &second}) {
        each->send("GET /more HTTP/1.1\r\nHost: x\r\n\r\n");
        BOOST_TEST(has("200 OK")(each->receive(has("\r\n\r\n"))));
    }
    const Response third = client().call("GET", "/stream");
    BOOST_TEST(third.status == 503U);
    BOOST_TEST(has("2 event streams")(third.body));
    BOOST_TEST(stream->gone());
    BOOST_TEST(client().call("GET", "/quick").status == 200U);
}

BOOST_FIXTURE_TEST_CASE(streams_end_with_the_server, Fixture) {
    const RawSocket raw(socket);
    raw.send(kGet);
    raw.receive(has("\r\n\r\n"));
    std::atomic<bool> stop{false};
    std::thread producer([&] {
        while (!stop)
            stream->send(":\n\n");
    });
    server.reset();
    BOOST_TEST(stream->gone());
    stop = true;
    producer.join();
}

BOOST_AUTO_TEST_CASE(addresses_that_cannot_be_listened_on_are_named) {
    const auto names = [](const std::runtime_error& error) {
        return std::string(error.what()).find("192.0.2.1:1") != std::string::npos;
    };
    BOOST_CHECK_EXCEPTION(http::Server({{.tcp = {"192.0.2.1", 1}}}, {.handle = echo}), std::runtime_error,
                          names);
    const http::Server first({{.tcp = {"127.0.0.1", 0}}}, {.handle = echo});
    BOOST_CHECK_THROW(http::Server({{.tcp = {"127.0.0.1", first.tcp_port(0)}}}, {.handle = echo}),
                      std::runtime_error);
}

BOOST_AUTO_TEST_CASE(one_address_cannot_take_all_connections) {
    const http::Server server({{.tcp = {"127.0.0.1", 0}}}, {.handle = echo},
                              {.max_connections = 4, .max_of_address = 2, .timeout = 60s});
    const uint16_t port = server.tcp_port(0);
    const std::string get = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    auto one = std::make_unique<RawSocket>(port), two = std::make_unique<RawSocket>(port);
    BOOST_TEST(RawSocket(port).receive().empty());
    const RawSocket other(port, INADDR_LOOPBACK + 1);
    other.send(get);
    BOOST_TEST(other.receive().starts_with("HTTP/1.1 200"));
    one.reset();  // and what is closed counts no more
    for (std::string answer; answer.empty();) {
        const RawSocket again(port);
        again.send(get);
        answer = again.receive();
    }
}
