// SPDX-License-Identifier: BSD-3-Clause
// The manager's failovers on fake nodes: every way that a source, a target and a new home can fail.
#define BOOST_TEST_MODULE failover
#include "mgmt/cluster/region_creation.h"
#include "tests/unit/managed_cluster.h"

using namespace lagan::test;

namespace {

using Cluster = ManagedCluster;

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

// The answer that was heard last may be older than the region.
BOOST_AUTO_TEST_CASE(a_region_that_was_just_made_is_not_taken_for_lost) {
    for (const auto kind : {FailoverRecord::Kind::move, FailoverRecord::Kind::failure}) {
        Cluster cluster;
        cluster.begin();
        const FakeCopy copy = cluster.nodes.all["a"].copies["db"];
        cluster.nodes.all["a"].copies.clear();
        cluster.manager->controller.beat("a");
        cluster.nodes.all["a"].copies["db"] = copy;
        for (const char* name : {"b", "c"})
            cluster.nodes.all[name].unclaimed = 0;
        const auto region = load<RegionRecord>(*cluster.directory, kRegionPrefix, "db");
        const std::string id =
            cluster.manager->runner.begin(*region, {.kind = kind, .wanted_target = "", .reason = "asked"});
        cluster.manager->runner.advance(id);
        cluster.until_well();
        BOOST_TEST(cluster.record().node == "a");
        BOOST_TEST(cluster.record().epoch == 1U);
        BOOST_TEST(!cluster.record().rolled_back);
    }
}

// Made there by somebody else, while a manager waited for its answer.
BOOST_AUTO_TEST_CASE(a_region_that_no_manager_made_is_neither_taken_nor_deleted) {
    Cluster cluster;
    const NodeRecord a{.name = "a", .api = "a", .address = "a"};
    RegionRecord wanted{.name = "own", .node = "a"};
    auto& copies = cluster.nodes.all["a"].copies;
    copies["own"] = {.uid = "u", .managed = false};
    BOOST_TEST(!finish_creation(cluster.nodes, a, wanted, 0));
    delete_home_copy(cluster.nodes, a, wanted);
    BOOST_TEST(copies.contains("own"));
    copies["own"].managed = true;
    delete_home_copy(cluster.nodes, a, wanted);
    BOOST_TEST(!copies.contains("own"));
    BOOST_TEST(wanted.uid == "u");
}
