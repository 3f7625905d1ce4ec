// SPDX-License-Identifier: BSD-3-Clause
// What both engines of the directory must do alike. Runs on a SQLite file, and on the etcd that
// LAGAN_TEST_DIRECTORY names ("http://127.0.0.1:2379,..."): tests/system/directory_engines_test.py gives it a
// real one.
#define BOOST_TEST_MODULE directory
#include <boost/algorithm/string/classification.hpp>
#include <boost/algorithm/string/split.hpp>
#include <boost/test/unit_test.hpp>
#include <map>
#include <thread>

#include "mgmt/cluster/directory.h"
#include "tests/unit/logged_seed.h"
#include "tests/unit/scratch_folder.h"

using namespace lagan::cluster;
using namespace lagan::test;
using namespace std::chrono_literals;
using nlohmann::json;

namespace {

// An empty directory of the case's own; more openings of it stand for other managers.
struct Place {
    Place() {
        if (const char* const given = std::getenv("LAGAN_TEST_DIRECTORY")) {
            const std::string list = given;
            boost::algorithm::split(options.endpoints, list, boost::is_any_of(","));
            options.prefix = "/" + boost::unit_test::framework::current_test_case().p_name.get() + "." +
                             std::to_string(std::random_device{}()) + "/";
        } else {
            options.file = scratch.path / "directory.db";
        }
    }
    std::unique_ptr<Directory> open() const { return open_directory(options); }

    ScratchFolder scratch;
    DirectoryOptions options;
};

std::vector<std::string> keys(const std::vector<Entry>& entries) {
    std::vector<std::string> result;
    for (const Entry& entry : entries)
        result.push_back(entry.key);
    return result;
}

using Keys = std::vector<std::string>;

bool soon(const std::function<bool()>& holds) {
    for (int i = 0; i < 3000; ++i) {
        if (holds()) return true;
        std::this_thread::sleep_for(10ms);
    }
    return false;
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_value_is_read_as_it_was_put) {
    const Place place;
    const auto directory = place.open();
    BOOST_TEST(!directory->get("regions/db"));
    const json value{{"uid", "00ff"},  {"epoch", UINT64_MAX},       {"none", nullptr},
                     {"list", {1, 2}}, {"text", "ä\n\"\\ \x01 \0"}, {"deep", {{"a", {{"b", 1.5}}}}}};
    const auto first = directory->put("regions/db", value, Directory::kAbsent);
    BOOST_REQUIRE(first.has_value());
    const auto entry = directory->get("regions/db");
    BOOST_REQUIRE(entry.has_value());
    BOOST_TEST((entry->value == value));
    BOOST_TEST(entry->revision == *first);
    BOOST_TEST(entry->key == "regions/db");
    BOOST_TEST(!directory->get("regions/d"));
    BOOST_TEST(!directory->get("regions/db2"));

    const std::string large(300'000, 'x');
    BOOST_TEST(directory->put("large", large, Directory::kAbsent).has_value());
    BOOST_TEST(directory->get("large")->value.get<std::string>() == large);
}

BOOST_AUTO_TEST_CASE(a_change_needs_the_revision_that_it_changes) {
    const Place place;
    const auto directory = place.open();
    const auto other = place.open();
    const auto first = directory->put("k", 1, Directory::kAbsent);
    BOOST_REQUIRE(first.has_value());
    BOOST_TEST(!other->put("k", 2, Directory::kAbsent));
    BOOST_TEST(!other->put("k", 2, *first + 1000));
    BOOST_TEST(!other->put("absent", 2, *first));
    BOOST_TEST(!directory->get("absent"));
    const auto second = other->put("k", 2, *first);
    BOOST_REQUIRE(second.has_value());
    BOOST_TEST(*second > *first);
    BOOST_TEST(!directory->put("k", 3, *first));
    BOOST_TEST(directory->get("k")->value == 2);

    BOOST_TEST(!directory->remove("k", *first));
    BOOST_TEST(!directory->remove("absent", *first));
    BOOST_TEST(!directory->remove("absent", Directory::kAbsent));
    BOOST_TEST(directory->remove("k", *second));
    BOOST_TEST(!directory->get("k"));
    BOOST_TEST(!directory->put("k", 4, *second));
    const auto third = directory->put("k", 4, Directory::kAbsent);
    BOOST_REQUIRE(third.has_value());
    BOOST_TEST(*third > *second);  // nobody mistakes the new one for the old one
}

BOOST_AUTO_TEST_CASE(lists_are_by_prefix_and_in_order) {
    const Place place;
    const auto directory = place.open();
    for (const char* key : {"b/2", "b/1", "b/10", "b", "b0", "a/9", "b/3"})
        BOOST_TEST(directory->put(key, key, Directory::kAbsent).has_value());
    BOOST_TEST(keys(directory->list("b/")) == (Keys{"b/1", "b/10", "b/2", "b/3"}));
    BOOST_TEST(keys(directory->list("b/", "", 2)) == (Keys{"b/1", "b/10"}));
    BOOST_TEST(keys(directory->list("b/", "b/10", 2)) == (Keys{"b/2", "b/3"}));
    BOOST_TEST(keys(directory->list("b/", "b/11")) == (Keys{"b/2", "b/3"}));
    BOOST_TEST(keys(directory->list("b/", "a")) == (Keys{"b/1", "b/10", "b/2", "b/3"}));
    BOOST_TEST(directory->list("b/", "b/3").empty());
    BOOST_TEST(directory->list("c/").empty());
    const auto entries = directory->list("a/");
    BOOST_REQUIRE(entries.size() == 1);
    BOOST_TEST(entries[0].value == "a/9");
    BOOST_TEST(entries[0].revision == directory->get("a/9")->revision);
}

BOOST_AUTO_TEST_CASE(the_revision_changes_with_every_change) {
    const Place place;
    const auto directory = place.open();
    const auto other = place.open();
    const uint64_t at_first = directory->revision();
    BOOST_TEST(directory->revision() == at_first);
    const auto put = other->put("k", 1, Directory::kAbsent);
    const uint64_t later = directory->revision();
    BOOST_TEST(later > at_first);
    BOOST_TEST(other->remove("k", *put));
    BOOST_TEST(directory->revision() > later);
}

BOOST_AUTO_TEST_CASE(of_changes_at_the_same_time_one_is_done) {
    const Place place;
    constexpr int kThreads = 4;
    constexpr int kRounds = 40;
    const auto directory = place.open();
    BOOST_REQUIRE(directory->put("count", 0, Directory::kAbsent).has_value());
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
        threads.emplace_back([&, own = place.open()] {
            for (int done = 0; done < kRounds;) {
                const auto entry = own->get("count");
                if (own->put("count", entry->value.get<int>() + 1, entry->revision)) ++done;
            }
        });
    }
    for (std::thread& thread : threads)
        thread.join();
    BOOST_TEST(directory->get("count")->value == kThreads * kRounds);
}

BOOST_AUTO_TEST_CASE(any_sequence_does_what_a_map_does) {
    const Place place;
    const auto directory = place.open();
    auto random = seeded_random();
    struct Known {
        int value;
        uint64_t revision;
    };
    std::map<std::string, Known> model;
    for (int i = 0; i < 400; ++i) {
        const std::string key = "m/" + std::to_string(random() % 12);
        const auto known = model.find(key);
        const uint64_t right = known == model.end() ? Directory::kAbsent : known->second.revision;
        const uint64_t expected = random() % 4 == 0 ? random() % 50 : right;
        switch (random() % 4) {
            case 0:
                if (directory->remove(key, expected)) {
                    BOOST_REQUIRE(expected == right && known != model.end());
                    model.erase(known);
                } else {
                    BOOST_REQUIRE(expected != right || known == model.end());
                }
                break;
            case 1: {
                const auto entry = directory->get(key);
                BOOST_REQUIRE(entry.has_value() == (known != model.end()));
                if (entry) BOOST_REQUIRE(entry->value == known->second.value && entry->revision == right);
                break;
            }
            default: {
                const auto revision = directory->put(key, i, expected);
                BOOST_REQUIRE(revision.has_value() == (expected == right));
                if (revision) model[key] = {.value = i, .revision = *revision};
            }
        }
    }
    const auto entries = directory->list("m/");
    BOOST_REQUIRE(entries.size() == model.size());
    auto known = model.begin();
    for (const Entry& entry : entries) {
        BOOST_TEST((entry.key == known->first && entry.value == known->second.value));
        ++known;
    }
}

BOOST_AUTO_TEST_CASE(one_leads_until_it_resigns) {
    const Place place;
    const auto one = place.open();
    const auto two = place.open();
    BOOST_TEST(one->leader().empty());
    BOOST_TEST(one->campaign("one", 60s));
    BOOST_TEST(!two->campaign("two", 60s));
    BOOST_TEST(one->campaign("one", 60s));
    BOOST_TEST(two->leader() == "one");
    two->resign("two");  // which it is not
    BOOST_TEST(one->campaign("one", 60s));
    one->resign("one");
    BOOST_TEST(one->leader().empty());
    BOOST_TEST(two->campaign("two", 60s));
    BOOST_TEST(!one->campaign("one", 60s));
    BOOST_TEST(one->leader() == "two");
}

BOOST_AUTO_TEST_CASE(a_leader_that_says_nothing_loses_its_place) {
    const Place place;
    const auto one = place.open();
    const auto two = place.open();
    BOOST_REQUIRE(one->campaign("one", 1s));
    BOOST_TEST(soon([&] { return two->campaign("two", 60s); }));
    BOOST_TEST(!one->campaign("one", 1s));
    BOOST_TEST(one->leader() == "two");
}

BOOST_AUTO_TEST_CASE(a_leader_that_goes_on_keeps_its_place) {
    const Place place;
    const auto one = place.open();
    const auto two = place.open();
    BOOST_REQUIRE(one->campaign("one", 1s));
    const auto begin = std::chrono::steady_clock::now();
    auto last = begin;
    while (std::chrono::steady_clock::now() - begin < 2500ms) {
        const auto now = std::chrono::steady_clock::now();
        const bool leads = one->campaign("one", 1s);
        // A machine that stood still for so long proves nothing.
        if (!leads && std::chrono::steady_clock::now() - last < 900ms) BOOST_ERROR("lost its place");
        if (!leads) break;
        last = now;
        std::this_thread::sleep_for(100ms);
        BOOST_TEST((!two->campaign("two", 1s) || std::chrono::steady_clock::now() - last > 900ms));
    }
}

BOOST_AUTO_TEST_CASE(many_campaign_and_one_leads) {
    const Place place;
    std::atomic<int> leading{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 6; ++i)
        threads.emplace_back([&, i, own = place.open()] {
            if (own->campaign("candidate " + std::to_string(i), 60s)) ++leading;
        });
    for (std::thread& thread : threads)
        thread.join();
    BOOST_TEST(leading == 1);
}
