// SPDX-License-Identifier: BSD-3-Clause
// The node API over a real unix socket: every route, every refusal with its status, and clients that
// misbehave.
#define BOOST_TEST_MODULE node_api
#include <sys/stat.h>

#include <fstream>

#include "tests/unit/node_api_fixture.h"

using namespace lagan;
using namespace lagan::test;

BOOST_AUTO_TEST_CASE(a_region_from_creation_to_deletion) {
    Fixture fixture;
    const NodeClient client = fixture.client();

    NodeReply reply = client.post("/v1/regions", {{"name", "heap"}, {"size", "64MiB"}});
    BOOST_TEST(reply.status == 201u);
    BOOST_TEST(reply.body["size_bytes"] == 64u << 20);

    reply = client.get("/v1/regions/heap");
    BOOST_TEST(reply.status == 200u);
    BOOST_TEST(reply.body["name"] == "heap");

    reply = client.get("/v1/regions?verbose=1");
    BOOST_TEST(reply.body["regions"].size() == 1u);

    reply = client.post("/v1/regions/heap/grants", {{"role", "write"}, {"ttl_seconds", 60}});
    BOOST_TEST(reply.status == 201u);
    BOOST_TEST(reply.body["grant"] == "77");
    BOOST_TEST(reply.body["expires"] == 60u);
    BOOST_TEST(client.post("/v1/regions/heap/grants", {{"role", "read"}}).body["expires"] == 3600u);

    reply = client.del("/v1/regions/heap");
    BOOST_TEST(reply.status == 204u);
    BOOST_TEST(reply.body.is_null());
    BOOST_TEST(client.get("/v1/regions/heap").status == 404u);
}

BOOST_AUTO_TEST_CASE(the_node_and_its_statistics) {
    Fixture fixture;
    const NodeReply node = fixture.client().get("/v1/node");
    BOOST_TEST(node.status == 200u);
    BOOST_TEST(node.body["name"] == "fake");
    BOOST_TEST(node.body["memory"]["total_bytes"] == kRoom);
    BOOST_TEST(node.body["rdma"]["service_port"] == 7471);
    BOOST_TEST(node.body["ports"][0]["peer_address"] == "10.0.0.2");
    BOOST_TEST(node.body["lcores"][0] == "lcore 1 polls on CPU 1");
    BOOST_TEST(fixture.client().get("/v1/stats").body.contains("engines"));
}

BOOST_AUTO_TEST_CASE(every_refusal_has_its_status_and_says_why) {
    Fixture fixture;
    const NodeClient client = fixture.client();
    BOOST_REQUIRE(client.post("/v1/regions", {{"name", "taken"}, {"size", 4096}}).status == 201u);
    struct Case {
        const char* target;
        std::string body;
        unsigned status;
        const char* detail;
    };
    const std::vector<Case> cases = {
        {"/v1/regions", "{", 400, "not JSON (error at byte 2)"},
        {"/v1/regions", "", 400, "not JSON"},
        {"/v1/regions", "\xff\xfe", 400, "not JSON"},
        {"/v1/regions", "{\"name\": \"a\xff\"}", 400, "not JSON"},
        {"/v1/regions", "[1]", 400, "must be a JSON object"},
        {"/v1/regions", "null", 400, "must be a JSON object"},
        {"/v1/regions", std::string(60000, '['), 400, "nested more than"},
        {"/v1/regions", "{\"name\":\"a\",\"size\":1e999}", 400, "not JSON"},
        {"/v1/regions", R"({"size": 4096})", 422, "name: is missing"},
        {"/v1/regions", R"({"name": 1, "size": 4096})", 422, "name: must be text"},
        {"/v1/regions", R"({"name": "a"})", 422, "size: is missing"},
        {"/v1/regions", R"({"name": "a", "size": -4096})", 422, "size: must be a size"},
        {"/v1/regions", R"({"name": "a", "size": 1.5})", 422, "size: must be a size"},
        {"/v1/regions", R"({"name": "a", "size": "lots"})", 422, "size: must be a size"},
        {"/v1/regions", R"({"name": "a", "size": 0})", 422, "more than nothing"},
        {"/v1/regions", R"({"name": "a", "size": 4096, "reserve": 8192})", 422, "reserve: is larger"},
        {"/v1/regions", R"({"name": "a", "size": 8192, "reserve": 4096})", 422, "overcommit"},
        {"/v1/regions", R"({"name": "a", "size": 8192, "overcommit": "yes"})", 422, "true or false"},
        {"/v1/regions", R"({"name": "a", "size": 8192, "temporary": 1})", 422,
         "temporary: must be true or false"},
        {"/v1/regions", R"({"name": "a", "size": 4096, "colour": 1})", 422,
         "unknown field; this request takes: name, size"},
        {"/v1/regions", R"({"name": "a/b", "size": 4096})", 422, "bad name"},
        {"/v1/regions", R"({"name": "taken", "size": 4096})", 409, "exists"},
        {"/v1/regions", R"({"name": "big", "size": "2GiB"})", 507, "no room"},
        {"/v1/regions", R"({"name": "big", "size": 18446744073709551615})", 507, "no room"},
        {"/v1/regions", R"({"name": "big", "size": 18446744073709551616})", 422, "size: must be a size"},
        {"/v1/regions", R"({"name": "explode", "size": 4096})", 500, "something else broke"},
        {"/v1/regions/nobody/grants", R"({"role": "read"})", 404, "there is no region \"nobody\""},
        {"/v1/regions/taken/grants", R"({})", 422, "role: is missing"},
        {"/v1/regions/taken/grants", R"({"role": "none"})", 422, "role: must be"},
        {"/v1/regions/taken/grants", R"({"role": "read", "ttl_seconds": 0})", 422, "ttl_seconds"},
        {"/v1/regions/taken/grants", R"({"role": "read", "ttl_seconds": -1})", 422, "ttl_seconds"},
        {"/v1/regions/taken/grants", R"({"role": "read", "ttl_seconds": 99999999999})", 422, "ttl_seconds"},
        {"/v1/nothing", "{}", 404, "no such resource"},
        {"/", "{}", 404, "no such resource"},
        {"//v1/regions", "{}", 404, "no such resource"},
        {"/v1/regions/", "{}", 405, "GET, DELETE"},
        {"/v1/node", "{}", 405, "this resource takes GET"},
        {"*", "{}", 400, "must be a path"},
    };
    for (const Case& test : cases) {
        BOOST_TEST_CONTEXT(test.target << " " << test.body.substr(0, 80)) {
            const std::string text = raw_call(fixture.socket, post_text(test.target, test.body));
            BOOST_TEST(text.find("HTTP/1.1 " + std::to_string(test.status) + " ") == 0u, text);
            const size_t body_at = text.find("\r\n\r\n");
            BOOST_REQUIRE(body_at != std::string::npos);
            BOOST_TEST(text.find("application/problem+json") != std::string::npos);
            const json body = json::parse(text.substr(body_at + 4), nullptr, false);
            BOOST_REQUIRE(body.is_object());
            BOOST_TEST(body["status"] == test.status);
            BOOST_TEST(body["detail"].get<std::string>().find(test.detail) != std::string::npos,
                       body["detail"]);
        }
    }
    BOOST_TEST(client.get("/v1/regions").body["regions"].size() == 1u);  // none of it had an effect
    const std::string not_allowed = raw_call(fixture.socket, post_text("/v1/node", "{}"));
    BOOST_TEST(not_allowed.find("Allow: GET\r\n") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(what_is_not_http_is_refused_and_harms_nobody) {
    Fixture fixture;
    const std::vector<std::pair<std::string, const char*>> cases = {
        {"hello\r\n\r\n", "400"},
        {std::string(3000, '\0'), "400"},
        {"GET /v1/node HTTP/9.9\r\n\r\n", "400"},
        {"GET /v1/node HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "400"},
        {"GET /v1/node HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", "400"},
        {"GET /v1/node HTTP/1.1\r\nX: " + std::string(9000, 'a') + "\r\n\r\n", "431"},
        {"POST /v1/regions HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n", "413"},
        {"POST /v1/regions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "400"},
    };
    for (const auto& [text, status] : cases) {
        const std::string reply = raw_call(fixture.socket, text);
        BOOST_TEST(reply.find(std::string("HTTP/1.1 ") + status) == 0u,
                   text.substr(0, 60) << " gave " << reply.substr(0, 60));
    }
    BOOST_TEST(fixture.client().get("/v1/node").status == 200u);
}

BOOST_AUTO_TEST_CASE(an_oversize_body_is_refused_and_its_sender_sees_why) {
    Fixture fixture;
    const NodeReply reply = fixture.client().post("/v1/regions", {{"name", std::string(500'000, 'x')}});
    BOOST_TEST(reply.status == 413u);
    BOOST_TEST(reply.error().find("65536 bytes") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(requests_follow_each_other_on_one_connection) {
    Fixture fixture;
    const RawClient client(fixture.socket);
    const std::string get = "GET /v1/node HTTP/1.1\r\nHost: x\r\n\r\n";
    client.send(get + get + "HEAD /v1/node HTTP/1.1\r\nHost: x\r\n\r\n");  // a HEAD ends it
    const std::string replies = client.receive_all();
    size_t count = 0;
    for (size_t at = 0; (at = replies.find("HTTP/1.1 200", at)) != std::string::npos; ++at)
        ++count;
    BOOST_TEST(count == 2u);
    BOOST_TEST(replies.find("HTTP/1.1 405") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(many_clients_at_once) {
    Fixture fixture(http::Limits{.max_connections = 4});
    std::atomic<unsigned> good{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 16; ++t) {
        threads.emplace_back([&, t] {
            for (int i = 0; i < 20; ++i) {
                const std::string name = "r" + std::to_string(t) + "-" + std::to_string(i);
                const NodeClient client(fixture.socket, 30s);
                good += client.post("/v1/regions", {{"name", name}, {"size", 4096}}).status == 201u;
                good += client.del("/v1/regions/" + name).status == 204u;
            }
        });
    }
    for (auto& thread : threads)
        thread.join();
    BOOST_TEST(good == 16u * 20u * 2u);
}

BOOST_AUTO_TEST_CASE(silent_clients_are_let_go_and_hold_nobody_up) {
    Fixture fixture(http::Limits{.max_connections = 2, .timeout = 2s});
    const RawClient silent(fixture.socket);
    const RawClient slow(fixture.socket);
    slow.send("GET /v1/node HT");
    // Both places are taken until the server's patience ends.
    BOOST_TEST(NodeClient(fixture.socket, 20s).get("/v1/node").status == 200u);
    BOOST_TEST(silent.receive_all().empty());
}

BOOST_AUTO_TEST_CASE(a_client_that_leaves_in_the_middle_harms_nobody) {
    Fixture fixture;
    for (int i = 0; i < 50; ++i) {
        const RawClient client(fixture.socket);
        client.send(post_text("/v1/regions", R"({"name": "a", "size": 4096})")
                        .substr(0, static_cast<size_t>(10 + 2 * i)));
    }
    BOOST_TEST(fixture.client().get("/v1/node").status == 200u);
}

BOOST_AUTO_TEST_CASE(shutting_down_answers_503_and_ends) {
    Fixture fixture;
    fixture.queue.close();
    BOOST_TEST(fixture.client().get("/v1/node").status == 503u);
    const RawClient open_connection(fixture.socket);
    open_connection.send("GET /v1/no");
    fixture.server.reset();
    BOOST_TEST(!fs::exists(fixture.socket));
    BOOST_TEST(open_connection.receive_all().empty());
}

BOOST_AUTO_TEST_CASE(those_who_wait_are_woken_when_the_queue_closes) {
    ControlQueue queue;
    std::atomic<bool> woken{false};
    std::thread waiting([&] {
        try {
            queue.run([] { return 1; });
        } catch (const QueueClosed&) {
            woken = true;
        }
    });
    pollfd event{.fd = queue.fd(), .events = POLLIN, .revents = 0};
    BOOST_TEST(poll(&event, 1, 5000) == 1);
    queue.close();
    waiting.join();
    BOOST_TEST(woken);
    BOOST_CHECK_THROW(queue.run([] {}), QueueClosed);
}

BOOST_AUTO_TEST_CASE(the_socket_is_for_owner_and_group) {
    Fixture fixture;
    struct stat status {};
    BOOST_REQUIRE(stat(fixture.socket.c_str(), &status) == 0);
    BOOST_TEST((status.st_mode & 07777) == 0660u);
}

BOOST_AUTO_TEST_CASE(a_stale_socket_is_replaced_a_live_one_is_not) {
    Fixture fixture;
    const auto names_it = [&](const char* part) {
        return [&fixture, part](const std::runtime_error& error) {
            const std::string what = error.what();
            return what.find(fixture.directory.string()) != std::string::npos &&
                   what.find(part) != std::string::npos;
        };
    };
    BOOST_CHECK_EXCEPTION(http::UnixListener{fixture.socket}, std::runtime_error,
                          names_it("another process answers"));
    BOOST_TEST(fixture.client().get("/v1/node").status == 200u);

    const fs::path stale = fixture.directory / "stale.sock";
    {
        http::UnixListener dead(stale);
        close(dead.release());
        fs::rename(stale, fixture.directory / "kept");  // out of the destructor's reach, as after kill -9
    }
    fs::rename(fixture.directory / "kept", stale);
    {
        const http::UnixListener listener(stale);
        const RawClient reached(stale);
    }
    BOOST_TEST(!fs::exists(stale));

    const fs::path file = fixture.directory / "file";
    std::ofstream(file) << "precious";
    BOOST_CHECK_EXCEPTION(http::UnixListener{file}, std::runtime_error, names_it("is no socket"));
    BOOST_TEST(fs::file_size(file) == 8u);
    BOOST_CHECK_EXCEPTION(http::UnixListener{file / "x.sock"}, std::runtime_error,
                          names_it("cannot make its directory"));
    BOOST_CHECK_EXCEPTION(http::UnixListener{fixture.directory / std::string(120, 'a')}, std::runtime_error,
                          names_it("107"));
}

BOOST_AUTO_TEST_CASE(an_appliance_that_is_not_there_is_named) {
    const auto names_it = [](const std::runtime_error& error) {
        return std::string(error.what())
                   .find("the appliance at /nonexistent/x.sock cannot be reached: No such file") == 0;
    };
    BOOST_CHECK_EXCEPTION(NodeClient("/nonexistent/x.sock").get("/v1/node"), std::runtime_error, names_it);
}

BOOST_AUTO_TEST_CASE(an_appliance_that_does_not_answer_is_given_up) {
    Fixture fixture;
    const http::UnixListener mute(fixture.directory / "mute.sock");  // listens, and never accepts
    const auto in_time = [](const std::runtime_error& error) {
        return std::string(error.what()).find("in time") != std::string::npos;
    };
    BOOST_CHECK_EXCEPTION(NodeClient(fixture.directory / "mute.sock", 100ms).get("/v1/node"),
                          std::runtime_error, in_time);
}
