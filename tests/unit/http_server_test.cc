// SPDX-License-Identifier: BSD-3-Clause
// The HTTP server's lanes: what takes long holds up its own kind only, and ends with the server.
#define BOOST_TEST_MODULE http_server
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <future>
#include <semaphore>
#include <thread>
#include <vector>

#include "appliance/http_server.h"
#include "client/node_client.h"

using namespace lagan;
using namespace lagan::appliance;
using namespace std::chrono_literals;
using client::NodeClient;
namespace fs = std::filesystem;

namespace {

// "/slow" waits until it is let go; everything else is answered at once.
struct Fixture {
    fs::path socket = fs::temp_directory_path() / ("lagan-http-" + std::to_string(getpid())) / "api.sock";
    std::counting_semaphore<1000> let_go{0};
    std::atomic<unsigned> begun{0}, ended{0};
    std::unique_ptr<HttpServer> server = std::make_unique<HttpServer>(
        socket,
        HttpHandlers{.lanes = {{.threads = 1}, {.threads = 2, .max_requests = 3, .what = "Godot"}},
                     .lane_of = [](const ApiRequest& request) { return request.target == "/slow" ? 1U : 0U; },
                     .handle = [this](const ApiRequest& request) { return handle(request); }});

    ~Fixture() {
        let_go.release(500);
        server.reset();
        fs::remove_all(socket.parent_path());
    }
    ApiReply handle(const ApiRequest& request) {
        if (request.target == "/slow") {
            ++begun;
            let_go.acquire();
            ++ended;
        }
        return {.body = request.target};
    }
    std::future<client::NodeReply> ask(const std::string& target) const {
        return std::async(std::launch::async, [this, target] { return NodeClient(socket, 60s).get(target); });
    }
    void wait_for(unsigned count) const {
        while (begun < count)
            std::this_thread::sleep_for(1ms);
    }
};

}  // namespace

BOOST_FIXTURE_TEST_CASE(what_waits_holds_only_its_own_kind_up, Fixture) {
    std::vector<std::future<client::NodeReply>> slow;
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
        BOOST_TEST(NodeClient(socket).get("/quick").body == "/quick");
    BOOST_TEST(refused() == 3);
    wait_for(2);
    BOOST_TEST(begun == 2U);
    let_go.release(3);
    unsigned good = 0, bad = 0;
    for (auto& future : slow) {
        const client::NodeReply reply = future.get();
        good += reply.status == 200;
        bad += reply.status == 503 && reply.error().find("3 requests wait for Godot already") == 0;
    }
    BOOST_TEST(good == 3U);
    BOOST_TEST(bad == 3U);
    auto again = ask("/slow");
    let_go.release(3);
    BOOST_TEST(again.get().status == 200U);
}

BOOST_FIXTURE_TEST_CASE(the_end_waits_for_what_was_begun_and_for_nothing_else, Fixture) {
    std::vector<std::future<client::NodeReply>> slow;
    for (int i = 0; i < 3; ++i)
        slow.push_back(ask("/slow"));
    wait_for(2);
    auto end = std::async(std::launch::async, [this] { server.reset(); });
    // All callers lose their connections at once, whether they were begun or not.
    for (auto& future : slow)
        BOOST_CHECK_THROW(future.get(), std::runtime_error);
    BOOST_TEST((end.wait_for(0s) == std::future_status::timeout));
    let_go.release(2);
    end.get();
    BOOST_TEST(begun == 2U);
    BOOST_TEST(ended == 2U);
}

BOOST_FIXTURE_TEST_CASE(callers_that_leave_harm_nobody, Fixture) {
    while (begun == 0)
        BOOST_CHECK_THROW(NodeClient(socket, 20ms).get("/slow"), std::runtime_error);
    let_go.release(begun);
    auto again = ask("/slow");
    let_go.release(3);
    BOOST_TEST(again.get().status == 200U);
}
