// SPDX-License-Identifier: BSD-3-Clause
// Asking a manager for a region's home: what is sent, what is made of the answers, and who is asked next.
#define BOOST_TEST_MODULE manager
#include "client/manager.h"

#include <boost/test/unit_test.hpp>
#include <cstdlib>
#include <fstream>
#include <mutex>

#include "mgmt/http/server.h"
#include "tests/unit/certificates.h"

using namespace lagan;
using client::Home;
using client::Manager;
using std::chrono::seconds;
namespace fs = std::filesystem;

namespace {

constexpr seconds kPatience{60};

struct Folder {
    Folder() {
        std::string name = (fs::temp_directory_path() / "lagan-manager-XXXXXX").string();
        BOOST_REQUIRE(mkdtemp(name.data()) != nullptr);
        path = name;
    }
    ~Folder() { fs::remove_all(path); }

    fs::path file(const std::string& name, const std::string& text) const {
        std::ofstream(path / name) << text;
        return path / name;
    }
    fs::path path;
};

nlohmann::json an_answer() {
    std::string grant;
    for (int i = 0; i < 56; i++)
        grant += "1f";
    return {{"node", "one"},    {"address", "10.77.0.1"}, {"port", 7471},
            {"grant", grant},   {"uid", "00ff"},          {"epoch", 3},
            {"state", "ready"}, {"rolled_back", nullptr}};
}

// Gives the same answer to everybody.
struct FakeManager {
    explicit FakeManager(http::Listen where, http::Reply answer = {.body = an_answer()})
        : reply(std::move(answer)),
          server({std::move(where)}, {.handle = [this](const http::Request& request) {
                     const std::lock_guard lock(mutex);
                     requests.push_back(request);
                     return reply;
                 }}) {}

    http::Request last() {
        const std::lock_guard lock(mutex);
        BOOST_REQUIRE(!requests.empty());
        return requests.back();
    }
    size_t count() {
        const std::lock_guard lock(mutex);
        return requests.size();
    }

    std::mutex mutex;
    http::Reply reply;
    std::vector<http::Request> requests;
    http::Server server;
};

struct Fixture {
    std::string socket(const std::string& name) const { return (folder.path / name).string(); }
    // Asks one that gives this answer.
    Home asked(http::Reply answer, Role role = Role::write) const {
        FakeManager far({.unix_socket = socket("m.sock")}, std::move(answer));
        return Manager({.urls = {"unix:" + socket("m.sock")}}).home_of("r", role, kPatience);
    }
    Folder folder;
};

bool says(const std::exception& error, const std::string& words) {
    BOOST_TEST_INFO(error.what());
    return std::string(error.what()).find(words) != std::string::npos;
}

}  // namespace

BOOST_FIXTURE_TEST_CASE(what_is_asked_and_what_is_understood, Fixture) {
    FakeManager far({.unix_socket = socket("m.sock")});
    Manager manager(
        {.urls = {"unix:" + socket("m.sock")}, .token_file = folder.file("token", " secret \n\n")});
    const Home home = manager.home_of("r", Role::read, kPatience);
    BOOST_TEST(far.last().method == "GET");
    BOOST_TEST(far.last().target == "/v1/regions/r/home?role=read");
    BOOST_TEST(far.last().header("authorization") == "Bearer secret");
    BOOST_TEST(home.node == "one");
    BOOST_TEST(home.address == "10.77.0.1");
    BOOST_TEST(home.port == 7471);
    BOOST_TEST((home.grant == std::vector<uint8_t>(56, 0x1f)));
    BOOST_TEST(home.uid == "00ff");
    BOOST_TEST(home.epoch == 3U);
    BOOST_TEST(!home.rolled_back.has_value());
    manager.home_of("r", Role::write, kPatience);
    BOOST_TEST(far.last().target == "/v1/regions/r/home?role=write");
}

BOOST_FIXTURE_TEST_CASE(a_roll_back_is_understood, Fixture) {
    nlohmann::json answer = an_answer();
    answer["rolled_back"] = {{"epoch", 2}, {"cut_number", 8}, {"cut_time_us", 9}, {"reason", "lost"}};
    const Home home = asked({.body = answer});
    BOOST_REQUIRE(home.rolled_back.has_value());
    BOOST_TEST(home.rolled_back->epoch == 2U);
    BOOST_TEST(home.rolled_back->cut_number == 8U);
    BOOST_TEST(home.rolled_back->cut_time_us == 9U);
}

BOOST_FIXTURE_TEST_CASE(a_no_is_final_and_not_now_is_not, Fixture) {
    for (const unsigned status : {400U, 401U, 403U, 404U})
        BOOST_CHECK_EXCEPTION(asked(http::problem(status, "because (test)")), client::Refused,
                              [](const auto& error) { return says(error, "region 'r': because (test)"); });
    for (const unsigned status : {429U, 500U, 503U}) {
        try {
            asked(http::problem(status, "not now (test)"));
            BOOST_TEST(false);
        } catch (const client::Refused& refusal) {
            BOOST_TEST(false, refusal.what());
        } catch (const std::runtime_error& error) {
            BOOST_TEST(says(error, "not now (test)"));
        }
    }
}

BOOST_FIXTURE_TEST_CASE(an_answer_that_is_none_is_not_believed, Fixture) {
    const auto none = [](const std::runtime_error& error) { return says(error, " that is none"); };
    BOOST_CHECK_EXCEPTION(asked({.text = "<html>", .content_type = "text/html"}), std::runtime_error, none);
    BOOST_CHECK_EXCEPTION(asked({.body = nlohmann::json::array()}), std::runtime_error, none);
    for (const char* key : {"node", "address", "port", "grant", "uid", "epoch"}) {
        nlohmann::json answer = an_answer();
        answer.erase(key);
        BOOST_CHECK_EXCEPTION(asked({.body = answer}), std::runtime_error, none);
        answer[key] = nlohmann::json::array();
        BOOST_CHECK_EXCEPTION(asked({.body = answer}), std::runtime_error, none);
    }
    nlohmann::json answer = an_answer();
    answer["grant"] = "zz";
    BOOST_CHECK_EXCEPTION(asked({.body = answer}), std::runtime_error, none);
    answer["grant"] = "1f1f";
    BOOST_CHECK_EXCEPTION(asked({.body = answer}), std::runtime_error, none);
}

BOOST_FIXTURE_TEST_CASE(the_next_manager_is_asked_and_stays_the_first, Fixture) {
    FakeManager busy({.unix_socket = socket("1")}, http::problem(503, "not the leader (test)"));
    FakeManager good({.unix_socket = socket("2")});
    Manager manager({.urls = {"unix:" + socket("0"), "unix:" + socket("1"), "unix:" + socket("2")}});
    BOOST_TEST(manager.home_of("r", Role::write, kPatience).node == "one");
    BOOST_TEST(manager.home_of("r", Role::write, kPatience).node == "one");
    BOOST_TEST(busy.count() == 1U);
    BOOST_TEST(good.count() == 2U);
}

BOOST_FIXTURE_TEST_CASE(when_nobody_answers_each_is_named, Fixture) {
    FakeManager busy({.unix_socket = socket("1")}, http::problem(503, "not the leader (test)"));
    Manager manager({.urls = {"unix:" + socket("0"), "unix:" + socket("1")}});
    BOOST_CHECK_EXCEPTION(
        manager.home_of("r", Role::write, kPatience), std::runtime_error,
        [&](const auto& error) { return says(error, socket("0")) && says(error, "not the leader (test)"); });
}

BOOST_FIXTURE_TEST_CASE(a_token_stays_on_this_machine_or_is_encrypted, Fixture) {
    const fs::path token = folder.file("token", "secret");
    BOOST_CHECK_EXCEPTION(Manager({.urls = {"http://192.0.2.1:80"}, .token_file = token}), std::runtime_error,
                          [](const auto& error) { return says(error, "it takes https://"); });
    BOOST_CHECK_NO_THROW(Manager({.urls = {"http://192.0.2.1:80"}}));
    BOOST_CHECK_NO_THROW(Manager({.urls = {"http://127.0.0.1:80"}, .token_file = token}));
    BOOST_CHECK_NO_THROW(Manager({.urls = {"https://192.0.2.1:80"}, .token_file = token}));
}

BOOST_FIXTURE_TEST_CASE(only_a_manager_with_the_right_certificate_is_asked, Fixture) {
    test::Authority good(folder.path, "good"), other(folder.path, "other");
    good.issue("server", "IP:127.0.0.1");
    const auto tls = http::server_tls(
        {.certificate = good.certificate_of("server"), .key = good.key_of("server"), .client_ca = {}});
    FakeManager far({.tcp = {.host = "127.0.0.1", .port = 0}, .tls = tls});
    const std::string url = "https://127.0.0.1:" + std::to_string(far.server.tcp_port(0));
    const fs::path token = folder.file("token", "secret");
    Manager trusting({.urls = {url}, .token_file = token, .ca = good.file()});
    BOOST_TEST(trusting.home_of("r", Role::write, kPatience).node == "one");
    BOOST_TEST(far.last().header("authorization") == "Bearer secret");
    Manager not_trusting({.urls = {url}, .token_file = token, .ca = other.file()});
    BOOST_CHECK_THROW(not_trusting.home_of("r", Role::write, kPatience), std::runtime_error);
    BOOST_TEST(far.count() == 1U);
}

BOOST_FIXTURE_TEST_CASE(what_cannot_be_is_said_at_the_start, Fixture) {
    for (const char* url : {"", "far", "ftp://far:1", "http://far", "http://far:99999"})
        BOOST_CHECK_EXCEPTION(Manager({.urls = {url}}), std::runtime_error,
                              [](const auto& error) { return says(error, "is no manager's address"); });
    BOOST_CHECK_EXCEPTION(Manager({.urls = {"unix:/x"}, .token_file = folder.path / "none"}),
                          std::runtime_error,
                          [](const auto& error) { return says(error, "cannot be read: No such file"); });
    BOOST_CHECK_THROW(Manager({.urls = {"unix:/x"}, .token_file = folder.file("empty", "")}),
                      std::runtime_error);
    BOOST_CHECK_EXCEPTION(Manager({.urls = {"unix:/x"}, .token_file = folder.file("space", "  \n")}),
                          std::runtime_error,
                          [](const auto& error) { return says(error, "holds no token"); });
    BOOST_CHECK_EXCEPTION(Manager({.urls = {"unix:/x"},
                                   .token_file = folder.file("lines",
                                                             "a\x01"
                                                             "b\n")}),
                          std::runtime_error,
                          [](const auto& error) { return says(error, "holds no token"); });
}
