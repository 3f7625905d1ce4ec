// SPDX-License-Identifier: BSD-3-Clause
// The node API over a real unix socket: every route, every refusal with its status, and clients that
// misbehave.
#define BOOST_TEST_MODULE node_api
#include "appliance/node_api.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <boost/test/unit_test.hpp>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "appliance/http_server.h"
#include "appliance/unix_listener.h"
#include "client/node_client.h"

using namespace lagan;
using namespace lagan::appliance;
using namespace std::chrono_literals;
using client::NodeClient;
using client::NodeReply;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

constexpr uint64_t kRoom = 1ULL << 30;

// Regions in a map. Knows on which thread it was called.
class FakeNode : public NodeService {
  public:
    std::atomic<bool> wrong_thread{false};
    std::thread::id control_thread;

    NodeStatus node() override {
        check_thread();
        NodeStatus status;
        status.name = "fake";
        status.version = "1.2.3";
        status.memory_bytes = kRoom;
        status.rdma_service_port = 7471;
        status.ports.push_back({.name = "p0",
                                .kind = "vhost",
                                .path = "/run/\xff",  // no UTF-8: must not break the reply
                                .mac = "02:00:00:00:00:01",
                                .addresses = {"10.0.0.1/24"},
                                .peer_address = "10.0.0.2",
                                .mtu_bytes = 4200,
                                .link_up = true});
        status.lcores = {"lcore 1 polls on CPU 1"};
        return status;
    }
    std::vector<RegionStatus> regions() override {
        check_thread();
        std::vector<RegionStatus> list;
        for (const auto& [name, region] : regions_)
            list.push_back(region);
        return list;
    }
    RegionStatus region(const std::string& name) override { return find(name); }
    RegionStatus create_region(const RegionSpec& spec) override {
        check_thread();
        if (spec.name == "explode") throw std::runtime_error("something else broke");
        if (spec.name.find('/') != std::string::npos)
            throw ServiceError(ServiceError::Kind::invalid, "bad name");
        if (regions_.contains(spec.name)) throw ServiceError(ServiceError::Kind::exists, "it exists");
        if (spec.size_bytes > kRoom) throw ServiceError(ServiceError::Kind::no_room, "no room");
        RegionStatus region;
        region.name = spec.name;
        region.size_bytes = spec.size_bytes;
        region.reserve_bytes = spec.reserve_bytes;
        regions_[spec.name] = region;
        return region;
    }
    void delete_region(const std::string& name) override {
        find(name);
        regions_.erase(name);
    }
    IssuedGrant make_grant(const std::string& name, Role role, uint64_t ttl_s) override {
        find(name);
        return {std::string(role == Role::write ? "77" : "00"), ttl_s};
    }
    json statistics() override { return {{"engines", json::array()}}; }

  private:
    void check_thread() {
        if (std::this_thread::get_id() != control_thread) wrong_thread = true;
    }
    RegionStatus& find(const std::string& name) {
        check_thread();
        const auto found = regions_.find(name);
        if (found == regions_.end())
            throw ServiceError(ServiceError::Kind::not_found, "there is no region \"" + name + "\"");
        return found->second;
    }
    std::map<std::string, RegionStatus> regions_;
};

// A server with a control thread, as lagand has them.
struct Fixture {
    fs::path directory;
    fs::path socket;
    FakeNode node;
    ControlQueue queue;
    NodeApi api{node, queue};
    std::atomic<bool> stop{false};
    std::thread control;
    std::unique_ptr<HttpServer> server;

    explicit Fixture(const HttpLimits& limits = {}) {
        std::string name = (fs::temp_directory_path() / "lagan-api-XXXXXX").string();
        BOOST_REQUIRE(mkdtemp(name.data()) != nullptr);
        directory = name;
        socket = directory / "sub" / "api.sock";
        control = std::thread([this] {
            pollfd event{.fd = queue.fd(), .events = POLLIN, .revents = 0};
            while (!stop) {
                if (poll(&event, 1, 10) > 0) queue.serve();
            }
        });
        node.control_thread = control.get_id();
        server = std::make_unique<HttpServer>(
            socket, [this](const ApiRequest& request) { return api.handle(request); }, limits);
    }
    ~Fixture() {
        queue.close();
        server.reset();
        stop = true;
        control.join();
        BOOST_TEST(!node.wrong_thread);
        fs::remove_all(directory);
    }
    NodeClient client() const { return NodeClient(socket); }
};

// A client that writes what it likes.
class RawClient {
  public:
    explicit RawClient(const fs::path& path) : fd_(::socket(AF_UNIX, SOCK_STREAM, 0)) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path.native().copy(address.sun_path, sizeof address.sun_path - 1);
        BOOST_REQUIRE(connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    }
    ~RawClient() { close(fd_); }
    RawClient(const RawClient&) = delete;
    RawClient& operator=(const RawClient&) = delete;

    bool send(const std::string& text) const {
        return ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
    }
    // All that comes until the server closes, or for five seconds.
    std::string receive_all() const {
        timeval limit{.tv_sec = 5, .tv_usec = 0};
        setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        std::string all;
        char block[4096];
        for (ssize_t bytes; (bytes = recv(fd_, block, sizeof block, 0)) > 0;)
            all.append(block, static_cast<size_t>(bytes));
        return all;
    }

  private:
    int fd_;
};

std::string raw_call(const fs::path& socket, const std::string& text) {
    const RawClient client(socket);
    client.send(text);
    return client.receive_all();
}

std::string post_text(const std::string& target, const std::string& body) {
    return "POST " + target +
           " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: " + std::to_string(body.size()) +
           "\r\n\r\n" + body;
}

}  // namespace

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
    Fixture fixture(HttpLimits{.max_connections = 4});
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
    Fixture fixture(HttpLimits{.max_connections = 2, .timeout = 200ms});
    const RawClient silent(fixture.socket);
    const RawClient slow(fixture.socket);
    slow.send("GET /v1/node HT");
    // Both places are taken until the server's patience ends.
    BOOST_TEST(NodeClient(fixture.socket, 5s).get("/v1/node").status == 200u);
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
    BOOST_CHECK_EXCEPTION(UnixListener{fixture.socket}, std::runtime_error,
                          names_it("another process answers"));
    BOOST_TEST(fixture.client().get("/v1/node").status == 200u);

    const fs::path stale = fixture.directory / "stale.sock";
    {
        UnixListener dead(stale);
        close(dead.release());
        fs::rename(stale, fixture.directory / "kept");  // out of the destructor's reach, as after kill -9
    }
    fs::rename(fixture.directory / "kept", stale);
    {
        const UnixListener listener(stale);
        const RawClient reached(stale);
    }
    BOOST_TEST(!fs::exists(stale));

    const fs::path file = fixture.directory / "file";
    std::ofstream(file) << "precious";
    BOOST_CHECK_EXCEPTION(UnixListener{file}, std::runtime_error, names_it("is no socket"));
    BOOST_TEST(fs::file_size(file) == 8u);
    BOOST_CHECK_EXCEPTION(UnixListener{file / "x.sock"}, std::runtime_error,
                          names_it("cannot make its directory"));
    BOOST_CHECK_EXCEPTION(UnixListener{fixture.directory / std::string(120, 'a')}, std::runtime_error,
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
    const UnixListener mute(fixture.directory / "mute.sock");  // listens, and never accepts
    const auto in_time = [](const std::runtime_error& error) {
        return std::string(error.what()).find("in time") != std::string::npos;
    };
    BOOST_CHECK_EXCEPTION(NodeClient(fixture.directory / "mute.sock", 100ms).get("/v1/node"),
                          std::runtime_error, in_time);
}
