// SPDX-License-Identifier: BSD-3-Clause
// A region that moves from one appliance to another under its client: what was not acknowledged is repeated
// at the new home, and nobody goes on unknowingly when acknowledged stores are missing there.
#define BOOST_TEST_MODULE home
#include "client/home.h"

#include <array>
#include <boost/test/unit_test.hpp>
#include <map>

#include "client/reconnecting_fabric.h"
#include "client/session.h"
#include "tests/support/failing_fabric.h"

using namespace lagan::client;
using lagan::test::FailingAppliance;
using lagan::test::FailingFabric;
using std::chrono::milliseconds;

namespace {

constexpr uint32_t kDepth = 16;
constexpr uint64_t kPages = 64;
constexpr milliseconds kLong{120'000};

// Two appliances, and what the manager says.
struct Cluster {
    Cluster() {
        b.region_id = 7;
        b.next_key = 500;
        b.epoch = 2;
    }

    Home at(const std::string& node, uint64_t epoch) {
        return {.node = node,
                .address = node,
                .port = 7471,
                .grant = {},
                .uid = "u",
                .epoch = epoch,
                .rolled_back = {}};
    }

    HomeFinder finder(OnRollBack policy = OnRollBack::stop) {
        return {[this] {
                    asked++;
                    if (!refusal.empty()) throw Refused(refusal);
                    if (!answers) throw std::runtime_error("no manager (test)");
                    return home;
                },
                [this](const Home& to) -> std::unique_ptr<Fabric> {
                    tried[to.node]++;
                    FailingAppliance& appliance = to.node == "a" ? a : b;
                    if (fenced == to.node) throw Refused("moved: ask the manager (test)");
                    auto made = std::make_unique<FailingFabric>(appliance, kDepth);
                    now = made.get();
                    return made;
                },
                policy, [this](const std::string& line) { lines.push_back(line); }};
    }

    // A session that follows the region.
    std::unique_ptr<Session> session(OnRollBack policy = OnRollBack::stop) {
        const auto found = std::make_shared<HomeFinder>(finder(policy));
        auto first = found->connect();
        return std::make_unique<Session>(std::make_unique<ReconnectingFabric>(
            std::move(first),
            WayBack{.restore = [] {},
                    .connect = [found] { return found->connect_again(); },
                    .moved = [found] { return found->moved(); }},
            ReconnectOptions{
                .limit = kLong, .first_backoff = milliseconds(1), .tell = {}, .interrupted = {}}));
    }

    FailingAppliance a{kPages, 1}, b{kPages, 2};
    Home home = at("a", 1);
    bool answers = true;
    std::string refusal, fenced;
    int asked = 0;
    std::map<std::string, int> tried;
    std::vector<std::string> lines;
    FailingFabric* now = nullptr;
};

struct Stores {
    explicit Stores(Session& s) : session(s) {}

    void post(uint64_t first, uint64_t count) {
        for (uint64_t page = first; page < first + count; page++)
            BOOST_TEST_REQUIRE(session.store_page(page, page, data.data()));
    }
    // Until nothing is outstanding; how many have succeeded.
    uint64_t finish() {
        uint64_t good = 0;
        std::array<Completion, 8> found;
        size_t count;
        do {
            count = session.poll(found);
            for (size_t i = 0; i < count; i++)
                good += found[i].status == CompletionStatus::success ? 1 : 0;
        } while (count != 0 || session.outstanding() != 0);
        return good;
    }

    Session& session;
    std::vector<std::byte> data = std::vector<std::byte>(4096, std::byte{7});
};

bool failed_with(const Session& session, const std::string& words) {
    BOOST_TEST_INFO(session.failure());
    return !session.connected() && session.failure().find(words) != std::string::npos;
}

}  // namespace

BOOST_AUTO_TEST_CASE(what_was_not_acknowledged_is_repeated_at_the_new_home) {
    Cluster cluster;
    const auto session = cluster.session();
    Stores stores(*session);
    stores.post(0, 8);
    cluster.a.never_lets_go = true;  // it is dead: nobody answers the end of the connection
    cluster.now->fail();
    cluster.home = cluster.at("b", 2);
    BOOST_TEST(stores.finish() == 8U);
    for (uint64_t page = 0; page < 8; page++)
        BOOST_TEST((cluster.b.bytes[page * 4096] == std::byte{7}));
    BOOST_TEST(session->reconnections() == 1U);
    BOOST_TEST(!session->rolled_back());
    BOOST_TEST(cluster.a.abandoned == 1);
}

BOOST_AUTO_TEST_CASE(a_silent_appliance_is_left_when_the_region_is_elsewhere) {
    Cluster cluster;
    const auto session = cluster.session();
    Stores stores(*session);
    stores.post(0, 4);
    cluster.a.silent = cluster.a.never_lets_go = true;
    cluster.home = cluster.at("b", 2);
    BOOST_TEST(stores.finish() == 4U);
    BOOST_TEST((cluster.b.bytes[0] == std::byte{7}));
}

BOOST_AUTO_TEST_CASE(at_the_same_home_the_old_connection_ends_first) {
    Cluster cluster;
    const auto session = cluster.session();
    Stores stores(*session);
    for (int round = 0; round < 20; round++) {
        stores.post(0, 8);
        cluster.now->fail();  // FailingFabric throws when another is made before the old one has ended
        BOOST_TEST(stores.finish() == 8U);
    }
    BOOST_TEST(session->reconnections() == 20U);
    BOOST_TEST(cluster.a.abandoned == 0);
}

BOOST_AUTO_TEST_CASE(a_region_that_was_rolled_back_stops_its_client) {
    Cluster cluster;
    const auto session = cluster.session();
    Stores stores(*session);
    stores.post(0, 4);
    cluster.now->fail();
    cluster.home = cluster.at("b", 2);
    cluster.home.rolled_back = {.epoch = 2, .cut_number = 9, .cut_time_us = 1'700'000'000'000'000};
    BOOST_TEST(stores.finish() == 0U);
    BOOST_TEST(failed_with(*session, "2023-11-14 22:13:20 UTC (checkpoint 9)"));
    BOOST_TEST(session->rolled_back());
    BOOST_TEST(cluster.tried["b"] == 0);
}

BOOST_AUTO_TEST_CASE(or_goes_on_if_asked_to) {
    Cluster cluster;
    const auto session = cluster.session(OnRollBack::go_on);
    Stores stores(*session);
    stores.post(0, 4);
    cluster.now->fail();
    cluster.home = cluster.at("b", 2);
    cluster.home.rolled_back = {.epoch = 2, .cut_number = 0, .cut_time_us = 0};
    BOOST_TEST(stores.finish() == 4U);
    BOOST_TEST(!session->rolled_back());
    BOOST_TEST(cluster.lines.size() == 1U);
}

BOOST_AUTO_TEST_CASE(what_was_lost_before_the_client_came_does_not_stop_it) {
    Cluster cluster;
    cluster.b.epoch = 5;
    cluster.home = cluster.at("b", 5);
    cluster.home.rolled_back = {.epoch = 5, .cut_number = 1, .cut_time_us = 1};
    const auto session = cluster.session();
    Stores stores(*session);
    stores.post(0, 4);
    cluster.now->fail();
    cluster.a.epoch = 6;
    cluster.home.node = "a";
    cluster.home.epoch = 6;
    BOOST_TEST(stores.finish() == 4U);
    BOOST_TEST(session->reconnections() == 1U);
}

BOOST_AUTO_TEST_CASE(a_roll_back_in_place_is_seen_by_the_manager_alone) {
    Cluster cluster;
    const auto session = cluster.session();
    Stores stores(*session);
    stores.post(0, 4);
    cluster.now->fail();
    cluster.answers = false;
    cluster.a.epoch = 2;  // another copy
    std::array<Completion, 8> found;
    while (cluster.tried["a"] < 4)
        BOOST_TEST(session->poll(found) == 0U);
    BOOST_TEST(session->connected());  // and does not take it for the old one
    cluster.answers = true;
    cluster.home.epoch = 2;
    cluster.home.rolled_back = {.epoch = 2, .cut_number = 1, .cut_time_us = 1};
    BOOST_TEST(stores.finish() == 0U);
    BOOST_TEST(session->rolled_back());
}

BOOST_AUTO_TEST_CASE(without_a_manager_the_home_of_before_will_do) {
    Cluster cluster;
    const auto session = cluster.session();
    Stores stores(*session);
    stores.post(0, 4);
    cluster.now->fail();
    cluster.answers = false;
    BOOST_TEST(stores.finish() == 4U);
    BOOST_TEST((cluster.a.bytes[0] == std::byte{7}));
}

BOOST_AUTO_TEST_CASE(until_both_are_back_it_is_tried_again) {
    Cluster cluster;
    const auto session = cluster.session();
    Stores stores(*session);
    stores.post(0, 4);
    cluster.now->fail();
    cluster.answers = false;
    cluster.fenced = "a";
    std::array<Completion, 8> found;
    while (cluster.tried["a"] < 4)
        BOOST_TEST(session->poll(found) == 0U);
    cluster.answers = true;  // but it does not know yet
    const int asked = cluster.asked;
    while (cluster.asked < asked + 4)
        BOOST_TEST(session->poll(found) == 0U);
    BOOST_TEST(session->connected());
    cluster.home = cluster.at("b", 2);
    BOOST_TEST(stores.finish() == 4U);
    BOOST_TEST((cluster.b.bytes[0] == std::byte{7}));
}

BOOST_AUTO_TEST_CASE(an_old_answer_is_not_believed) {
    Cluster cluster;
    cluster.home = cluster.at("b", 2);
    const auto session = cluster.session();
    Stores stores(*session);
    stores.post(0, 4);
    cluster.now->fail();
    cluster.home = cluster.at("a", 1);
    std::array<Completion, 8> found;
    const int asked = cluster.asked;
    while (cluster.asked < asked + 4)
        BOOST_TEST(session->poll(found) == 0U);
    BOOST_TEST(cluster.tried["a"] == 0);
    cluster.home = cluster.at("b", 2);
    BOOST_TEST(stores.finish() == 4U);
}

BOOST_AUTO_TEST_CASE(another_region_of_the_name_is_not_taken) {
    Cluster cluster;
    const auto session = cluster.session();
    Stores stores(*session);
    stores.post(0, 4);
    cluster.now->fail();
    cluster.home.uid = "v";
    BOOST_TEST(stores.finish() == 0U);
    BOOST_TEST(failed_with(*session, "another region of that name"));
    BOOST_TEST(!session->rolled_back());
}

BOOST_AUTO_TEST_CASE(what_the_manager_refuses_is_final) {
    Cluster cluster;
    const auto session = cluster.session();
    Stores stores(*session);
    stores.post(0, 4);
    cluster.now->fail();
    cluster.refusal = "there is no region 'r' (test)";
    BOOST_TEST(stores.finish() == 0U);
    BOOST_TEST(failed_with(*session, "there is no region 'r' (test)"));
}

BOOST_AUTO_TEST_CASE(the_first_connection_says_what_is_wrong) {
    Cluster cluster;
    cluster.a.epoch = 3;  // it has moved between the two
    BOOST_CHECK_THROW(cluster.session(), std::runtime_error);
    cluster.answers = false;
    BOOST_CHECK_THROW(cluster.session(), std::runtime_error);
    cluster.refusal = "not with this token (test)";
    BOOST_CHECK_THROW(cluster.session(), Refused);
}
