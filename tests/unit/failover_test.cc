// SPDX-License-Identifier: BSD-3-Clause
// The manager's failovers on fake nodes: every way that a source can fail, and the manager dying before and
// after everything that it does to the outside. Whatever happens, at most one node serves, and no store that
// was acknowledged is missing where nobody says so.
#define BOOST_TEST_MODULE failover
#include "tests/unit/fake_cluster.h"
#include "tests/unit/logged_seed.h"
#include "tests/unit/scratch_folder.h"

using namespace lagan::test;

namespace {

constexpr auto kRound = 100ms;
constexpr auto kLeaseTtl = 1500ms;
constexpr auto kLeaderTtl = 3000ms;
constexpr int kSettle = 60;  // rounds until a new manager leads and has seen everybody

using State = RegionRecord::State;
using Step = FailoverRecord::Step;

// A manager's memory, which goes with it.
struct Manager {
    Manager(Directory& real, FakeNodes& nodes, Fate& fate, const FailoverPolicy& policy)
        : directory(real, fate),
          views(directory),
          leases(kLeaseTtl),
          observations({.interval = 200ms}),
          clocks{.now = [&nodes] { return nodes.now; },
                 .unix_ms =
                     [&nodes] {
                         return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                                          nodes.now.time_since_epoch())
                                                          .count());
                     }},
          runner(directory, nodes, leases, observations, policy, clocks,
                 [this](const EventRecord& event) { events.push_back(event); }),
          controller({directory, views, nodes, leases, observations, runner, clocks,
                      [this](const EventRecord& event) { events.push_back(event); }}) {}

    FatefulDirectory directory;
    Views views;
    LeaseBook leases;
    Observations observations;
    FailoverRunner::Clocks clocks;
    std::vector<EventRecord> events;
    FailoverRunner runner;
    Controller controller;
};

struct Cluster {
    Cluster() {
        nodes.changed = [this] { check(); };
        for (const char* name : {"a", "b", "c"}) {
            nodes.all[name] = {};
            BOOST_REQUIRE(directory->put(kNodePrefix + std::string(name),
                                         NodeRecord{.name = name, .api = name, .address = name},
                                         Directory::kAbsent));
        }
        nodes.all["b"].unclaimed *= 2;  // the better target
        nodes.all["a"].copies["db"] = {.uid = "uid-db"};
        BOOST_REQUIRE(directory->put(std::string(kRegionPrefix) + "db",
                                     RegionRecord{.name = "db",
                                                  .uid = "uid-db",
                                                  .epoch = 1,
                                                  .last_epoch = 1,
                                                  .node = "a",
                                                  .size_bytes = 4096,
                                                  .state = State::ready,
                                                  .recover_grant = "recover of db at a"},
                                     Directory::kAbsent));
        manager = std::make_unique<Manager>(*directory, nodes, fate, policy);
    }

    // What must be so at any instant.
    void check() {
        int serving = 0;
        for (auto& [name, node] : nodes.all) {
            const auto copy = node.copies.find("db");
            if (copy == node.copies.end() || !nodes.serves(node, copy->second)) continue;
            ++serving;
            const int value = std::max(copy->second.value, copy->second.own_value);
            const RegionRecord region = record();
            const bool said = region.rolled_back && region.rolled_back->epoch > acknowledged_epoch;
            BOOST_REQUIRE_MESSAGE(copy->second.rebuilding || value >= acknowledged || said,
                                  name << " serves store " << value << " of " << acknowledged);
        }
        BOOST_REQUIRE_MESSAGE(serving <= 1, serving << " nodes serve the region");
    }

    // The client stores wherever somebody serves.
    void client() {
        for (auto& [name, node] : nodes.all) {
            const auto copy = node.copies.find("db");
            if (copy == node.copies.end() || !nodes.serves(node, copy->second)) continue;
            (copy->second.rebuilding ? copy->second.own_value : copy->second.value) = ++acknowledged;
            acknowledged_epoch = copy->second.epoch;
        }
    }

    void round() {
        nodes.now += kRound;
        check();
        client();
        try {
            if (nodes.now >= next_lead) {
                manager->controller.lead(nodes.now, kLeaderTtl);
                next_lead = nodes.now + 1s;
            }
            if (!manager->leases.leads(nodes.now)) return;
            manager->views.refresh();
            for (const char* name : {"a", "b", "c"})
                if (rounds % 2 == 0) manager->controller.beat(name);
            manager->controller.detect();
            manager->views.refresh();
            for (const std::string& id : manager->controller.failovers())
                manager->runner.advance(id);
            if (rounds % 5 == 0) manager->controller.tidy();
        } catch (const ManagerDied&) {
            successor();
        }
        ++rounds;
    }
    void rounds_of(int count) {
        for (int i = 0; i < count; ++i)
            round();
    }

    // Another one leads when the dead one's leadership is over; at once, if it has resigned.
    void successor(bool resigned = false) {
        ++deaths;
        fate.dies_at = -1;
        manager = std::make_unique<Manager>(*directory, nodes, fate, policy);
        next_lead = resigned ? nodes.now : nodes.now + kLeaderTtl;
    }

    RegionRecord record() const {
        return directory->get(std::string(kRegionPrefix) + "db")->value.get<RegionRecord>();
    }
    std::vector<FailoverRecord> failovers() const {
        std::vector<FailoverRecord> all;
        for (const Entry& entry : directory->list(kFailoverPrefix))
            all.push_back(entry.value.get<FailoverRecord>());
        return all;
    }
    bool well() const {
        const RegionRecord region = record();
        const FakeNode& home = nodes.all.at(region.node);
        const auto copy = home.copies.find("db");
        return region.state == State::ready && region.failover.empty() && copy != home.copies.end() &&
               copy->second.epoch == region.epoch && !copy->second.rebuilding &&
               nodes.serves(home, copy->second);
    }
    // Rounds until all is well.
    int until_well(int most = 400) {
        for (int i = 0; i < most; ++i) {
            if (well()) return i;
            round();
        }
        BOOST_FAIL("not well after " << most << " rounds: " << nlohmann::json(record()).dump() << " "
                                     << nlohmann::json(failovers()).dump());
        return most;
    }
    void begin() {
        until_well();
        rounds_of(5);
    }

    ScratchFolder scratch;
    std::unique_ptr<Directory> directory = open_directory({.file = scratch.path / "directory.db"});
    FailoverPolicy policy;
    Fate fate;
    FakeNodes nodes{fate};
    std::unique_ptr<Manager> manager;
    Clock::time_point next_lead{};
    int rounds = 0;
    int deaths = 0;
    int acknowledged = 0;
    uint64_t acknowledged_epoch = 0;
};

}  // namespace

BOOST_AUTO_TEST_CASE(a_region_is_served_as_long_as_all_is_well) {
    Cluster cluster;
    cluster.begin();
    for (int i = 0; i < 100; ++i) {
        cluster.round();
        BOOST_REQUIRE(cluster.well());
    }
    BOOST_TEST(cluster.acknowledged > 90);
    BOOST_TEST(cluster.failovers().empty());
}

BOOST_AUTO_TEST_CASE(management_dead_and_datapath_alive_loses_nothing) {
    Cluster cluster;
    cluster.begin();
    cluster.nodes.all["a"].api = false;
    cluster.rounds_of(10);
    cluster.until_well();
    BOOST_TEST(cluster.record().node == "b");
    BOOST_TEST(cluster.record().epoch == 2U);
    BOOST_TEST(!cluster.record().rolled_back);
    BOOST_TEST(cluster.record().recover_grant == "recover of db at b");
    BOOST_REQUIRE(cluster.failovers().size() == 1U);
    const FailoverRecord failover = cluster.failovers()[0];
    BOOST_TEST((failover.step == Step::done && failover.source_kind == FailoverRecord::Source::live));
    BOOST_TEST(failover.lease_over_by == "fence");
    // It is back: its copy is old.
    cluster.nodes.all["a"].api = true;
    cluster.rounds_of(20);
    BOOST_TEST(!cluster.nodes.all["a"].copies.contains("db"));
    BOOST_TEST(cluster.well());
}

BOOST_AUTO_TEST_CASE(all_dead_rolls_back_and_says_so) {
    Cluster cluster;
    cluster.begin();
    cluster.nodes.baseline = 1;
    cluster.nodes.all["a"].kill();
    cluster.rounds_of(10);
    cluster.until_well();
    BOOST_TEST(cluster.record().node == "b");
    BOOST_REQUIRE(cluster.record().rolled_back.has_value());
    BOOST_TEST(cluster.record().rolled_back->epoch == 2U);
    BOOST_TEST(cluster.record().rolled_back->cut_number == 7U);
    BOOST_TEST((cluster.failovers()[0].step == Step::rolled_back));
    BOOST_TEST(cluster.failovers()[0].lease_over_by == "expiry");
}

// Its clients go on until its lease is over, and not longer.
BOOST_AUTO_TEST_CASE(a_source_that_is_cut_off_is_never_one_of_two) {
    for (const bool manager_too : {false, true}) {
        Cluster cluster;
        cluster.policy.rescue_wait = 0ms;
        cluster.successor();
        cluster.begin();
        cluster.nodes.all["a"].cut_off();
        const int before = cluster.acknowledged;
        if (manager_too) cluster.successor(true);
        cluster.rounds_of(10);
        BOOST_TEST(cluster.acknowledged > before);
        cluster.until_well();
        BOOST_TEST(cluster.record().node == "b");
        BOOST_TEST(cluster.record().rolled_back.has_value());
        cluster.nodes.all["a"].api = cluster.nodes.all["a"].rdma = true;
        cluster.rounds_of(20);
        BOOST_TEST(!cluster.nodes.all["a"].copies.contains("db"));
    }
}

BOOST_AUTO_TEST_CASE(a_rescue_loses_nothing) {
    Cluster cluster;
    cluster.begin();
    cluster.nodes.all["a"].kill();
    cluster.rounds_of(9);
    cluster.nodes.all["a"].restart("rescue");
    cluster.until_well();
    BOOST_TEST(cluster.record().node == "b");
    BOOST_TEST(!cluster.record().rolled_back);
    BOOST_TEST((cluster.failovers()[0].step == Step::done));
}

BOOST_AUTO_TEST_CASE(a_source_that_comes_back_in_time_goes_on) {
    Cluster cluster;
    cluster.begin();
    cluster.nodes.all["a"].kill();
    for (int i = 0; i < 30 && cluster.failovers().empty(); ++i)
        cluster.round();
    cluster.nodes.all["a"].restart();
    cluster.until_well();
    BOOST_TEST(cluster.record().node == "a");
    BOOST_TEST(cluster.record().epoch == 1U);
    BOOST_REQUIRE(cluster.failovers().size() == 1U);
    BOOST_TEST((cluster.failovers()[0].step == Step::cancelled));
}

BOOST_AUTO_TEST_CASE(no_node_with_room_is_tried_again) {
    Cluster cluster;
    cluster.begin();
    for (const char* name : {"b", "c"})
        cluster.nodes.all[name].unclaimed = 0;
    cluster.nodes.all["a"].api = false;
    cluster.rounds_of(60);
    BOOST_TEST(cluster.record().node == "a");
    BOOST_TEST((cluster.record().state == State::failing_over));
    BOOST_TEST(cluster.failovers()[0].problem.find("no node has room") != std::string::npos);
    cluster.nodes.all["c"].unclaimed = 8192;
    cluster.until_well();
    BOOST_TEST(cluster.record().node == "c");
    BOOST_TEST(!cluster.record().rolled_back);
}

BOOST_AUTO_TEST_CASE(a_target_that_dies_is_followed_by_another) {
    for (const Step when : {Step::target_chosen, Step::fencing, Step::rebuilding}) {
        BOOST_TEST_CONTEXT(to_string(when)) {
            Cluster cluster;
            cluster.begin();
            cluster.nodes.all["a"].api = false;
            cluster.nodes.all["b"].unclaimed *= 2;
            bool killed = false;
            cluster.nodes.changed = [&] {
                cluster.check();
                if (!killed && !cluster.failovers().empty() && cluster.failovers()[0].step == when) {
                    cluster.nodes.all["b"].kill();
                    killed = true;
                }
            };
            cluster.rounds_of(10);
            cluster.until_well();
            BOOST_TEST((!killed || cluster.record().node == "c"));
            BOOST_TEST(!cluster.record().rolled_back);
        }
    }
}

namespace {

// The new home serves, and is not complete.
void half_way(Cluster& cluster) {
    cluster.begin();
    cluster.nodes.slow = true;
    cluster.nodes.all["a"].api = false;
    for (int i = 0; i < 100 && cluster.record().node != "b"; ++i)
        cluster.round();
    cluster.rounds_of(5);
    const FakeNode& home = cluster.nodes.all["b"];
    BOOST_REQUIRE((home.copies.at("db").rebuilding && cluster.nodes.serves(home, home.copies.at("db"))));
    BOOST_REQUIRE(home.copies.at("db").own_value == cluster.acknowledged);
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_new_home_that_dies_half_way_and_comes_back_goes_on) {
    Cluster cluster;
    half_way(cluster);
    cluster.nodes.all["b"].kill();
    cluster.rounds_of(50);
    BOOST_TEST(cluster.record().node == "b");
    cluster.nodes.all["b"].restart();
    cluster.nodes.slow = false;
    cluster.until_well();
    BOOST_TEST(cluster.record().node == "b");
    BOOST_TEST(!cluster.record().rolled_back);
}

BOOST_AUTO_TEST_CASE(a_new_home_that_is_gone_half_way_is_said_to_have_lost_stores) {
    Cluster cluster;
    half_way(cluster);
    cluster.nodes.all["b"].kill();
    cluster.nodes.slow = false;
    cluster.until_well(1000);
    BOOST_TEST(cluster.record().node == "c");
    BOOST_REQUIRE(cluster.record().rolled_back.has_value());
    BOOST_TEST(cluster.record().rolled_back->epoch == cluster.record().epoch);
    BOOST_REQUIRE(cluster.failovers().size() == 1U);
    BOOST_TEST((cluster.failovers()[0].source_kind == FailoverRecord::Source::live));
    BOOST_TEST((cluster.failovers()[0].step == Step::rolled_back));
}

BOOST_AUTO_TEST_CASE(a_source_that_goes_half_way_is_waited_for) {
    Cluster cluster;
    half_way(cluster);
    cluster.nodes.all["a"].kill();
    cluster.nodes.slow = false;
    cluster.rounds_of(100);
    BOOST_TEST(cluster.record().node == "b");
    cluster.nodes.all["a"].restart("rescue");
    cluster.until_well();
    BOOST_TEST(cluster.record().node == "b");
    BOOST_TEST(!cluster.record().rolled_back);
}

BOOST_AUTO_TEST_CASE(a_source_that_stays_away_is_given_up_and_that_is_said) {
    Cluster cluster;
    half_way(cluster);
    const uint64_t epoch = cluster.record().epoch;
    cluster.nodes.all["a"].kill();
    cluster.nodes.slow = false;
    cluster.until_well(1000);
    BOOST_TEST(cluster.record().epoch == epoch + 1);
    BOOST_REQUIRE(cluster.record().rolled_back.has_value());
    BOOST_TEST(cluster.record().rolled_back->epoch == epoch + 1);
}

BOOST_AUTO_TEST_CASE(a_lost_arena_and_a_fence_from_nowhere_are_noticed) {
    Cluster cluster;
    cluster.begin();
    cluster.nodes.all["a"].copies.clear();
    cluster.rounds_of(10);
    cluster.until_well();
    BOOST_TEST(cluster.record().rolled_back.has_value());
    const std::string home = cluster.record().node;
    const uint64_t epoch = cluster.record().epoch;
    cluster.nodes.all[home].copies["db"].fenced = true;
    cluster.rounds_of(10);
    cluster.until_well();
    BOOST_TEST(cluster.record().epoch > epoch);
    BOOST_TEST(cluster.record().rolled_back->epoch == epoch);
}

BOOST_AUTO_TEST_CASE(two_failovers_at_once_are_one) {
    Cluster cluster;
    cluster.begin();
    const auto region = load<RegionRecord>(*cluster.directory, kRegionPrefix, "db");
    const std::string first = cluster.manager->runner.begin(
        *region, {.kind = FailoverRecord::Kind::move, .wanted_target = "c", .reason = "asked"});
    const std::string second = cluster.manager->runner.begin(
        *region, {.kind = FailoverRecord::Kind::move, .wanted_target = "b", .reason = "asked"});
    BOOST_TEST(!first.empty());
    BOOST_TEST(second.empty());
    cluster.until_well();
    BOOST_TEST(cluster.record().node == "c");
    BOOST_TEST(!cluster.record().rolled_back);
}

BOOST_AUTO_TEST_CASE(a_move_that_cannot_be_made_leaves_the_region_where_it_is) {
    Cluster cluster;
    cluster.begin();
    cluster.nodes.all["c"].unclaimed = 0;
    const auto region = load<RegionRecord>(*cluster.directory, kRegionPrefix, "db");
    cluster.manager->runner.begin(
        *region, {.kind = FailoverRecord::Kind::move, .wanted_target = "c", .reason = "asked"});
    cluster.until_well();
    BOOST_TEST(cluster.record().node == "a");
    BOOST_TEST((cluster.failovers()[0].step == Step::failed));
    BOOST_TEST(!cluster.failovers()[0].problem.empty());
}

// ---- The manager dies ----

namespace {

struct Fault {
    const char* name;
    std::function<void(Cluster&)> happens;
    bool may_roll_back;
};

const std::vector<Fault>& faults() {
    static const std::vector<Fault> all{
        {"management dead", [](Cluster& c) { c.nodes.all["a"].api = false; }, false},
        {"all dead", [](Cluster& c) { c.nodes.all["a"].kill(); }, true},
        {"rescue at once", [](Cluster& c) { c.nodes.all["a"].restart("rescue"); }, false},
        {"arena lost", [](Cluster& c) { c.nodes.all["a"].copies.clear(); }, true},
        {"a move",
         [](Cluster& c) {
             try {
                 c.manager->runner.begin(
                     *load<RegionRecord>(*c.directory, kRegionPrefix, "db"),
                     {.kind = FailoverRecord::Kind::move, .wanted_target = "", .reason = "asked"});
             } catch (const ManagerDied&) {
                 c.successor();
             }
         },
         false},
        {"b refuses",
         [](Cluster& c) {
             c.nodes.all["b"].copies["db"] = {.uid = "uid-db", .epoch = 1'000'000};
             c.nodes.all["a"].api = false;
         },
         false},
    };
    return all;
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_manager_that_dies_anywhere_is_followed_by_one_that_ends_it) {
    for (const Fault& fault : faults()) {
        int calls = 0;
        int deaths = 0;
        {
            Cluster cluster;
            cluster.begin();
            const int before = cluster.fate.calls;
            fault.happens(cluster);
            cluster.rounds_of(15);
            cluster.until_well();
            calls = cluster.fate.calls - before;
            BOOST_TEST(cluster.record().rolled_back.has_value() == fault.may_roll_back, fault.name);
        }
        BOOST_TEST_MESSAGE(fault.name << ": " << calls << " calls");
        BOOST_REQUIRE(calls > 5);
        for (int at = 1; at <= calls; ++at) {
            for (const bool after : {false, true}) {
                BOOST_TEST_CONTEXT(fault.name << ", dies " << (after ? "after" : "before") << " call "
                                              << at) {
                    Cluster cluster;
                    cluster.begin();
                    cluster.fate = {.calls = 0, .dies_at = at, .after = after};
                    fault.happens(cluster);
                    cluster.rounds_of(15);
                    cluster.rounds_of(kSettle);
                    cluster.until_well();
                    BOOST_TEST(cluster.deaths <= 1);
                    deaths += cluster.deaths;
                    BOOST_TEST((fault.may_roll_back || !cluster.record().rolled_back));
                    for (const FailoverRecord& failover : cluster.failovers())
                        BOOST_TEST(failover.ended());
                }
            }
        }
        BOOST_TEST(deaths > calls);  // nearly all of them did die
    }
}

// Nodes and managers fail and come back by chance; in the end all is well, and nothing was lost that nobody
// has told of.
BOOST_AUTO_TEST_CASE(random_faults_never_make_two_homes) {
    auto random = seeded_random();
    const bool longer =
        std::getenv("LAGAN_TEST_LONG") != nullptr && std::string(std::getenv("LAGAN_TEST_LONG")) == "1";
    for (int run = 0; run < (longer ? 400 : 25); ++run) {
        Cluster cluster;
        cluster.begin();
        for (int i = 0; i < 400; ++i) {
            FakeNode& node = cluster.nodes.all[std::string(1, static_cast<char>('a' + random() % 3))];
            switch (random() % 60) {
                case 0:
                    node.kill();
                    break;
                case 1:
                    node.api = false;
                    break;
                case 2:
                    node.cut_off();
                    break;
                case 8:
                    cluster.successor(true);
                    break;
                case 3:
                    cluster.fate.calls = 0;
                    cluster.fate.dies_at = static_cast<int>(1 + random() % 12);
                    cluster.fate.after = random() % 2 == 0;
                    break;
                case 4:
                case 5:
                case 6:
                case 7:
                    if (!node.clients) node.restart(random() % 4 == 0 ? "rescue" : "serve");
                    node.api = node.rdma = true;
                    break;
                default:
                    break;
            }
            cluster.round();
        }
        cluster.fate.dies_at = -1;
        for (auto& [name, node] : cluster.nodes.all) {
            if (!node.clients || node.mode == "rescue") node.restart();
            node.api = node.rdma = true;
        }
        cluster.rounds_of(kSettle);
        cluster.until_well(1000);
    }
}
