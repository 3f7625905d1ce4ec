// SPDX-License-Identifier: BSD-3-Clause
// What operators' commands are made of: tables, progress, server-sent events, defaults, completion.
#define BOOST_TEST_MODULE commands
#include <CLI/CLI.hpp>
#include <boost/test/unit_test.hpp>
#include <fstream>
#include <map>
#include <random>

#include "client/commands/completion.h"
#include "client/commands/event_source.h"
#include "client/commands/progress.h"
#include "client/commands/report.h"
#include "client/commands/server.h"
#include "client/commands/where.h"
#include "mgmt/http/server.h"
#include "tests/unit/logged_seed.h"
#include "tests/unit/scratch_folder.h"

namespace lagan::client::commands {
namespace {

using namespace std::chrono_literals;

BOOST_AUTO_TEST_CASE(a_table_has_its_numbers_to_the_right) {
    BOOST_TEST(table_text({"NAME", "PAGES"}, {{"db", "7"}, {"longer", "1234"}}) ==
               "NAME    PAGES\n"
               "db          7\n"
               "longer   1234\n");
    BOOST_TEST(table_text({"A", "B"}, {}) == "A  B\n");
    BOOST_TEST(table_text({"A", "B"}, {{"x", ""}}) == "A  B\nx\n");
}

BOOST_AUTO_TEST_CASE(values_are_shown_for_people) {
    const nlohmann::json object{{"no", nullptr}, {"empty", ""}, {"yes", true}, {"n", 12}, {"text", "x"}};
    BOOST_TEST(plain(object, "no") == "-");
    BOOST_TEST(plain(object, "empty") == "-");
    BOOST_TEST(plain(object, "absent") == "-");
    BOOST_TEST(plain(object, "yes") == "yes");
    BOOST_TEST(plain(object, "n") == "12");
    BOOST_TEST(plain(object, "text") == "x");
    BOOST_TEST(size_text(1023) == "1023 bytes");
    BOOST_TEST(size_text(1536ULL << 20) == "1.5 GiB");
    BOOST_TEST(time_text(0) == "-");
    BOOST_TEST(time_text(1'795'398'005'000'000) == "2026-11-23 01:40:05");
}

BOOST_AUTO_TEST_CASE(a_bar_ends_where_all_is) {
    BOOST_TEST(bar_text(0, 0, 4) == "[....]   0 %");
    BOOST_TEST(bar_text(1, 3, 4) == "[#...]  33 %");
    BOOST_TEST(bar_text(3, 3, 4) == "[####] 100 %");
    BOOST_TEST(bar_text(9, 3, 4) == "[####] 100 %");
    BOOST_TEST(bar_text(UINT64_MAX, UINT64_MAX, 4) == "[####] 100 %");
}

BOOST_AUTO_TEST_CASE(on_a_terminal_progress_is_one_line_that_never_wraps) {
    Progress progress("move of db", true, 60);
    const auto now = Progress::Clock::time_point() + 1h;
    const std::string first = progress.next("rebuilding", 1, 2, "", now);
    BOOST_TEST(first == "\r[############............]  50 % move of db: rebuilding\x1b[K");
    BOOST_TEST(progress.next("rebuilding", 2, 2, std::string(200, 'x'), now).size() <= 59 + 4);
    BOOST_TEST(progress.next("fencing", 0, 0, "", now) == "\rmove of db: fencing\x1b[K");
}

BOOST_AUTO_TEST_CASE(elsewhere_progress_is_a_line_for_each_step_and_one_from_time_to_time) {
    Progress progress("move of db", false, 80);
    const auto now = Progress::Clock::time_point() + 1h;
    BOOST_TEST(progress.next("fencing", 0, 0, "", now) == "move of db: fencing\n");
    BOOST_TEST(progress.next("fencing", 0, 0, "", now + 1s) == "");
    BOOST_TEST(progress.next("rebuilding", 1, 4, "soon", now + 1s) == "move of db: rebuilding, 25 %, soon\n");
    BOOST_TEST(progress.next("rebuilding", 2, 4, "", now + 2s) == "");
    BOOST_TEST(progress.next("rebuilding", 3, 4, "", now + 3s) == "move of db: rebuilding, 75 %\n");
}

BOOST_AUTO_TEST_CASE(events_are_the_same_however_they_are_cut_up) {
    const std::string stream =
        ": hello\n\nid: 1\nevent: a\ndata: {\"x\":1}\n\n:\n\ndata:two\ndata: lines\r\n\r\nid: 3\n\ndata: "
        "half";
    const std::vector<std::string> expected{"{\"x\":1}", "two\nlines"};
    std::mt19937_64 random = test::seeded_random();
    for (int round = 0; round < 200; ++round) {
        std::vector<std::string> events;
        EventSource source([&](const std::string& data) {
            events.push_back(data);
            return true;
        });
        for (size_t at = 0; at < stream.size();) {
            const size_t piece = 1 + random() % static_cast<size_t>(round + 1);
            BOOST_REQUIRE(source.feed(std::string_view(stream).substr(at, piece)));
            at += piece;
        }
        BOOST_REQUIRE(events == expected);
    }
    int taken = 0;
    EventSource one([&](const std::string&) { return ++taken < 1; });
    BOOST_TEST(!one.feed(stream));
    BOOST_TEST(taken == 1);
}

BOOST_AUTO_TEST_CASE(a_stream_of_events_that_ends_at_once_is_said_to_have_ended) {
    const test::ScratchFolder folder;
    const std::string socket = folder.path / "m.sock";
    const http::Server far({{.unix_socket = socket}},
                           {.handle = [](const http::Request&) { return http::Reply{}; }});
    Server server({.manager = {.urls = {"unix:" + socket}}, .appliance = ""});
    const auto take = [](const nlohmann::json&) { return true; };
    BOOST_CHECK_EXCEPTION(server.follow_events(0, take), std::runtime_error, [](const auto& error) {
        BOOST_TEST_INFO(error.what());
        return std::string(error.what()).ends_with("m.sock: its stream of events has ended");
    });
}

struct FakeEnvironment {
    std::map<std::string, std::string> values;
    Environment get() const {
        return [this](const char* name) {
            const auto found = values.find(name);
            return found == values.end() ? nullptr : found->second.c_str();
        };
    }
};

BOOST_AUTO_TEST_CASE(whom_to_ask_is_found_in_order) {
    const test::ScratchFolder folder;
    const auto file = folder.path / "config.toml";
    std::ofstream(file)
        << "manager = [\"https://a:1\", \"https://b:2\"]\ntoken_file = \"token\"\nca = \"/ca.pem\"\n";
    FakeEnvironment environment{{{"HOME", "/nowhere"}}};
    // Nothing is known: this machine's appliance.
    BOOST_TEST(complete_where({}, environment.get()).appliance == "/run/lagan/lagand.sock");
    environment.values["LAGAN_CONFIG"] = file;
    Where where = complete_where({}, environment.get());
    BOOST_CHECK(where.manager.urls == (std::vector<std::string>{"https://a:1", "https://b:2"}));
    BOOST_CHECK(where.manager.token_file == folder.path / "token");
    BOOST_CHECK(where.manager.ca == "/ca.pem");
    BOOST_TEST(where.appliance == "");
    environment.values["LAGAN_MANAGER"] = "unix:/m1,unix:/m2";
    environment.values["LAGAN_CA"] = "/other.pem";
    where = complete_where({.manager = {.urls = {}, .token_file = "mine", .ca = {}}, .appliance = {}},
                           environment.get());
    BOOST_CHECK(where.manager.urls == (std::vector<std::string>{"unix:/m1", "unix:/m2"}));
    BOOST_CHECK(where.manager.token_file == "mine");
    BOOST_CHECK(where.manager.ca == "/other.pem");
    // An appliance that is named is asked, whatever else is known.
    where = complete_where({.manager = {}, .appliance = "/run/a.sock"}, environment.get());
    BOOST_TEST(where.manager.urls.empty());
    BOOST_TEST(where.appliance == "/run/a.sock");
    BOOST_CHECK(config_path(FakeEnvironment{{{"HOME", "/h"}}}.get()) == "/h/.config/lagan/config.toml");
    BOOST_CHECK(config_path(FakeEnvironment{{{"HOME", "/h"}, {"XDG_CONFIG_HOME", "/x"}}}.get()) ==
                "/x/lagan/config.toml");
}

BOOST_AUTO_TEST_CASE(a_configuration_that_is_wrong_is_named) {
    const test::ScratchFolder folder;
    const auto file = folder.path / "config.toml";
    const FakeEnvironment environment{{{"LAGAN_CONFIG", file}}};
    for (const char* text :
         {"manager = 1", "manager = [1]", "token_file = 1", "token = \"x\"", "manager ="}) {
        std::ofstream(file, std::ios::trunc) << text << "\n";
        BOOST_CHECK_EXCEPTION(
            complete_where({}, environment.get()), std::invalid_argument,
            [&](const auto& error) { return std::string(error.what()).starts_with(file.string()); });
    }
    std::filesystem::remove(file);
    BOOST_CHECK_THROW(complete_where({}, environment.get()), std::invalid_argument);
}

struct CommandLine {
    CLI::App app;
    std::string text, role, region, file;
    bool flag = false;

    CommandLine() {
        CLI::App* grant = app.add_subcommand("grant", "About grants");
        CLI::App* create = grant->add_subcommand("create", "Make one");
        create->add_option("region", region)->option_text("REGION");
        create->add_option("--role,-r", role, "Which\nand more")->option_text("{read,write} [read]");
        create->add_option("--output", file)->option_text("FILE");
        create->add_flag("--json", flag);
        create->add_option("--manager", text)->option_text("URL");
        grant->add_subcommand("list", "All");
    }

    std::vector<std::string> at(std::vector<std::string> words, bool* files = nullptr) const {
        const Suggestions found = complete(app, words, [](const std::string& what, const Where& given) {
            const std::string whose = given.manager.urls.empty() ? "" : given.manager.urls.front();
            return std::vector<std::string>{what + "-1" + whose, what + "-2" + whose};
        });
        if (files != nullptr) *files = found.files;
        std::vector<std::string> texts;
        for (const auto& word : found.words)
            texts.push_back(word.text);
        return texts;
    }
};

using Words = std::vector<std::string>;

BOOST_AUTO_TEST_CASE(completion_follows_the_definition) {
    const CommandLine line;
    BOOST_CHECK(line.at({}) == Words{"grant"});
    BOOST_CHECK(line.at({"g"}) == Words{"grant"});
    BOOST_CHECK(line.at({"x"}) == Words{});
    BOOST_CHECK(line.at({"grant", ""}) == (Words{"create", "list"}));
    BOOST_CHECK(line.at({"grant", "create", "--"}) ==
                (Words{"--help", "--role", "--output", "--json", "--manager"}));
    BOOST_CHECK(line.at({"grant", "create", ""}) == (Words{"REGION-1", "REGION-2"}));
    BOOST_CHECK(line.at({"grant", "create", "--json", "REGION-2"}) == Words{"REGION-2"});
    BOOST_CHECK(line.at({"grant", "create", "db", ""}) == Words{});
    BOOST_CHECK(line.at({"grant", "create", "--role", ""}) == (Words{"read", "write"}));
    BOOST_CHECK(line.at({"grant", "create", "-r", "w"}) == Words{"write"});
    BOOST_CHECK(line.at({"grant", "create", "--role=w"}) == Words{"--role=write"});
    BOOST_CHECK(line.at({"grant", "create", "--role", "=", "w"}) == Words{"write"});
    BOOST_CHECK(line.at({"grant", "create", "--role", "="}) == (Words{"read", "write"}));
    BOOST_CHECK(line.at({"grant", "create", "--nothing", ""}) == (Words{"REGION-1", "REGION-2"}));
    // Names are asked of whom the line names.
    BOOST_CHECK(line.at({"grant", "create", "--manager", "M", ""}) == (Words{"REGION-1M", "REGION-2M"}));
    BOOST_CHECK(line.at({"grant", "create", "--manager=M", "REGION-1"}) == Words{"REGION-1M"});
    bool files = false;
    BOOST_CHECK(line.at({"grant", "create", "--output", "a"}, &files) == Words{});
    BOOST_TEST(files);
    line.at({"grant", "create", "--manager", ""}, &files);
    BOOST_TEST(!files);
    line.at({"grant", "--", ""}, &files);
    BOOST_TEST(files);
}

}  // namespace
}  // namespace lagan::client::commands
