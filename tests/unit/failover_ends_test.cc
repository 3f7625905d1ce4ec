// SPDX-License-Identifier: BSD-3-Clause
// Failovers that are held up: how long is waited for what, that every one of them ends when faults do, and
// that nothing is given up that need not be.
#define BOOST_TEST_MODULE failover_ends
#include "tests/unit/managed_cluster.h"

using namespace lagan::test;

namespace {

using Cluster = ManagedCluster;
using Source = FailoverRecord::Source;

// The new home serves, and is not complete.
void half_way(Cluster& cluster) {
    cluster.begin();
    cluster.nodes.slow = true;
    cluster.nodes.all["a"].api = false;
    for (int i = 0; i < 100 && cluster.record().node != "b"; ++i)
        cluster.round();
    cluster.rounds_of(5);
    BOOST_REQUIRE(cluster.record().node == "b");
}

Step step(const Cluster& cluster) {
    const auto all = cluster.failovers();
    return all.empty() ? Step::done : all.back().step;
}

// Does it once, when the failover has come to this step.
void when(Cluster& cluster, Step at, const std::function<void()>& what) {
    cluster.nodes.changed = [&cluster, at, what, done = false]() mutable {
        cluster.check();
        if (done || step(cluster) != at) return;
        done = true;
        what();
    };
}

}  // namespace

// ---- Waits ----

BOOST_AUTO_TEST_CASE(a_source_that_is_lost_late_is_waited_for_as_long) {
    Cluster cluster;
    half_way(cluster);
    cluster.rounds_of(400);  // longer than half_way_wait
    cluster.nodes.all["a"].rdma = false;
    cluster.rounds_of(100);
    BOOST_TEST(!cluster.was_said("source_lost"));
    cluster.nodes.all["a"].rdma = true;
    cluster.nodes.slow = false;
    ends_at(cluster, "b", 2);
}

BOOST_AUTO_TEST_CASE(short_losses_do_not_add_up) {
    Cluster cluster;
    half_way(cluster);
    for (int i = 0; i < 6; ++i) {
        cluster.nodes.all["a"].rdma = false;
        cluster.rounds_of(100);
        cluster.nodes.all["a"].rdma = true;
        cluster.rounds_of(5);
    }
    cluster.nodes.slow = false;
    ends_at(cluster, "b", 2);
}

BOOST_AUTO_TEST_CASE(another_managers_clock_ends_no_wait) {
    for (const auto ahead : {-1h, 1h}) {
        Cluster cluster;
        half_way(cluster);
        cluster.nodes.all["a"].kill();
        cluster.rounds_of(10);
        cluster.successor(true, ahead);
        cluster.rounds_of(100);
        cluster.nodes.slow = false;
        cluster.nodes.all["a"].restart("rescue");
        ends_at(cluster, "b", 2);
    }
    Cluster cluster;  // and none lasts for ever
    cluster.begin();
    for (const char* name : {"b", "c"})
        cluster.nodes.all[name].unclaimed = 0;
    cluster.nodes.all["a"].api = false;
    cluster.rounds_of(30);
    cluster.successor(true, -1h);
    cluster.rounds_of(kSettle);
    cluster.nodes.all["b"].unclaimed = 8192;
    cluster.until_well();
}

BOOST_AUTO_TEST_CASE(a_source_that_refuses_lives) {
    Cluster cluster;
    cluster.begin();
    cluster.nodes.all["a"].api = false;
    cluster.nodes.all["a"].refuses = true;
    cluster.rounds_of(100);
    BOOST_TEST(cluster.record().node == "a");
    BOOST_TEST(cluster.was_said("failover_stuck"));
    cluster.nodes.all["a"].refuses = false;
    ends_at(cluster, "b", 2);
}

BOOST_AUTO_TEST_CASE(a_target_that_sees_nothing_of_the_source_is_not_believed) {
    Cluster cluster;
    cluster.begin();
    cluster.nodes.all["b"].blind = true;
    cluster.nodes.all["a"].api = false;
    cluster.rounds_of(kSettle);
    ends_at(cluster, "c", 3);
    BOOST_TEST(!cluster.record().rolled_back);
}

// Only the old home's management is dead, but nobody has a way to it.
void begin_with_blind_targets(Cluster& cluster) {
    cluster.begin();
    for (const char* name : {"b", "c"})
        cluster.nodes.all[name].blind = true;
    cluster.nodes.all["a"].api = false;
}

// Its only answer did not come: that it has a way to the source is found out later.
BOOST_AUTO_TEST_CASE(all_who_could_see_the_source_are_asked_again) {
    Cluster cluster;
    begin_with_blind_targets(cluster);
    for (int i = 0; i < 100 && (cluster.failovers().empty() || cluster.failovers()[0].tried.size() < 2); ++i)
        cluster.round();
    BOOST_REQUIRE(cluster.failovers()[0].tried.size() == 2U);
    cluster.nodes.all["c"].blind = false;
    BOOST_TEST(cluster.until_well() < 100);
    BOOST_TEST(cluster.record().node == "c");
    BOOST_TEST(!cluster.record().rolled_back);
    BOOST_TEST(
        std::none_of(cluster.manager->events.begin(), cluster.manager->events.end(),
                     [](const auto& event) { return event.text.find("has room") != std::string::npos; }));
}

BOOST_AUTO_TEST_CASE(targets_that_all_see_nothing_are_waited_for_as_long_as_one_that_is_half_way) {
    Cluster cluster;
    begin_with_blind_targets(cluster);
    cluster.rounds_of(100);
    BOOST_TEST(cluster.record().node == "a");
    BOOST_TEST(cluster.was_said("failover_stuck"));
    BOOST_TEST(cluster.manager->events.size() < 20U);
    cluster.rounds_of(300);
    cluster.nodes.all["a"].kill();
    cluster.until_well();
    BOOST_TEST(cluster.record().rolled_back.has_value());
}

BOOST_AUTO_TEST_CASE(a_silent_store_holds_up_nobody_who_has_a_source) {
    Cluster cluster;
    cluster.begin();
    cluster.nodes.store_silent = true;
    cluster.nodes.all["a"].api = false;
    cluster.rounds_of(kSettle);
    ends_at(cluster, "b", 2);
    BOOST_TEST(!cluster.nodes.last_order.baseline);
    BOOST_TEST(cluster.was_said("rebuild_without_baseline"));
}

// What that home has left in the store must be seen.
BOOST_AUTO_TEST_CASE(behind_a_home_that_was_given_up_the_store_is_waited_for) {
    Cluster cluster;
    cluster.begin();
    cluster.nodes.store_silent = true;
    cluster.nodes.slow = true;
    cluster.nodes.all["a"].cut_off();
    cluster.nodes.all["a"].rdma = true;
    when(cluster, Step::switched, [&] { cluster.nodes.all["b"].kill(); });
    cluster.rounds_of(600);
    cluster.nodes.slow = false;
    cluster.until_well();
    BOOST_TEST(cluster.record().node == "c");
    BOOST_TEST(cluster.nodes.last_order.baseline);
}

// ---- Without a source ----

BOOST_AUTO_TEST_CASE(without_any_checkpoint_nobody_is_led_to_an_empty_home) {
    Cluster cluster;
    cluster.begin();
    cluster.nodes.has_baseline = false;
    cluster.nodes.all["a"].kill();
    cluster.rounds_of(300);
    BOOST_TEST(cluster.record().node == "a");
    BOOST_TEST(!cluster.record().rolled_back);
    BOOST_TEST((cluster.record().state == State::failing_over));
    BOOST_TEST(cluster.was_said("failover_stuck"));
    BOOST_TEST(cluster.failovers()[0].tried.size() == 2U);
    BOOST_TEST(cluster.manager->events.size() < 20U);  // not one more each second
    cluster.nodes.all["a"].restart();
    cluster.until_well();
    BOOST_TEST(!cluster.record().rolled_back);
    BOOST_TEST((cluster.failovers()[0].source_kind == Source::live));
}

BOOST_AUTO_TEST_CASE(a_source_that_comes_back_while_the_store_is_away_is_used) {
    Cluster cluster;
    cluster.begin();
    cluster.nodes.store_answers = false;
    cluster.nodes.all["a"].kill();
    cluster.rounds_of(100);
    BOOST_TEST(cluster.record().node == "a");
    cluster.nodes.all["a"].restart("rescue");
    cluster.until_well();
    BOOST_TEST(!cluster.record().rolled_back);
    BOOST_TEST((cluster.failovers()[0].source_kind == Source::rescue));
}

// Its baseline is another's by then: where it could serve, it would have no checkpoint ever again.
BOOST_AUTO_TEST_CASE(a_source_whose_baseline_was_claimed_is_left_where_there_is_room) {
    for (const bool room : {true, false}) {
        Cluster cluster;
        cluster.begin();
        cluster.nodes.store_answers = false;
        cluster.nodes.all["a"].kill();
        for (int i = 0; i < 100 && step(cluster) != Step::fencing; ++i)
            cluster.round();
        cluster.rounds_of(5);
        BOOST_REQUIRE(cluster.nodes.all["b"].copies.contains("db"));
        cluster.nodes.all["b"].kill();
        if (!room) cluster.nodes.all["c"].unclaimed = 0;
        cluster.rounds_of(20);
        cluster.nodes.all["a"].restart();
        cluster.until_well();
        BOOST_TEST(!cluster.record().rolled_back);
        BOOST_TEST(cluster.record().node == (room ? "c" : "a"));
        BOOST_TEST(cluster.was_said("checkpoints_refused") == !room);
    }
}

// ---- The target ----

BOOST_AUTO_TEST_CASE(a_rebuild_that_fails_after_the_switch_is_tried_again_and_keeps_its_stores) {
    Cluster cluster;
    half_way(cluster);
    FakeCopy& copy = cluster.nodes.all["b"].copies["db"];
    copy.state = "failed";
    copy.problem = "it does";
    cluster.rounds_of(100);
    BOOST_TEST(cluster.was_said("failover_stuck"));
    cluster.nodes.slow = false;
    ends_at(cluster, "b", 2);
}

BOOST_AUTO_TEST_CASE(an_older_attempts_rebuild_is_not_in_the_way) {
    Cluster cluster;
    cluster.begin();
    cluster.nodes.slow = true;
    cluster.nodes.all["c"].unclaimed = 0;
    when(cluster, Step::fencing, [&] { cluster.nodes.all["b"].cut_off(); });
    cluster.nodes.all["a"].api = false;
    for (int i = 0; i < 100 && (cluster.failovers().empty() || cluster.failovers()[0].tried.empty()); ++i)
        cluster.round();
    BOOST_REQUIRE(cluster.nodes.all["b"].copies["db"].job);
    cluster.nodes.all["b"].api = cluster.nodes.all["b"].rdma = true;
    cluster.nodes.slow = false;
    cluster.until_well();
    BOOST_TEST(cluster.record().node == "b");
    BOOST_TEST(!cluster.record().rolled_back);
}

// Its process was started again since, and knows nothing of a reconstruction.
BOOST_AUTO_TEST_CASE(a_target_that_is_whole_already_is_the_home) {
    Cluster cluster;
    cluster.begin();
    when(cluster, Step::fencing, [&] {
        FakeCopy& copy = cluster.nodes.all["b"].copies["db"];
        FakeCopy& source = cluster.nodes.all["a"].copies["db"];
        copy = {.uid = "uid-db", .epoch = 2, .value = source.value};
        source.fenced = true;
    });
    cluster.nodes.all["a"].api = false;
    cluster.rounds_of(10);
    ends_at(cluster, "b", 2);
    BOOST_TEST(cluster.fate.calls < 60);
}

BOOST_AUTO_TEST_CASE(one_answer_that_does_not_come_ends_no_attempt) {
    for (const Step at : {Step::fencing, Step::rebuilding, Step::switched}) {
        Cluster cluster;
        cluster.begin();
        cluster.nodes.rebuild_silent = [&, missed = 0]() mutable {
            return step(cluster) == at && missed++ < 3;
        };
        cluster.nodes.all["a"].api = false;
        cluster.rounds_of(10);
        ends_at(cluster, "b", 2);
    }
}

// ---- Moves ----

BOOST_AUTO_TEST_CASE(a_move_that_its_target_refuses_says_why) {
    Cluster cluster;
    cluster.begin();
    cluster.nodes.all["c"].unclaimed = 0;  // since it was heard last
    cluster.manager->runner.advance(cluster.move_to("c"));
    BOOST_TEST((step(cluster) == Step::failed));
    BOOST_TEST(cluster.failovers()[0].problem == "c: no room");
    BOOST_TEST(cluster.well());
}

BOOST_AUTO_TEST_CASE(a_move_that_has_fenced_its_source_finds_a_home) {
    Cluster cluster;
    cluster.begin();
    cluster.nodes.changed = [&] {
        cluster.check();
        FakeNode& target = cluster.nodes.all["b"];
        if (target.copies.contains("db") && target.copies["db"].source_fenced) target.kill();
    };
    BOOST_REQUIRE(!cluster.move_to("b").empty());
    cluster.rounds_of(10);
    cluster.until_well();
    BOOST_TEST(cluster.record().node == "c");
    BOOST_TEST(!cluster.record().rolled_back);
    BOOST_REQUIRE(cluster.failovers().size() == 1U);
    BOOST_TEST((cluster.failovers()[0].step == Step::done));
}

BOOST_AUTO_TEST_CASE(a_move_that_cannot_go_on_and_cannot_go_back_waits_for_room) {
    Cluster cluster;
    cluster.begin();
    cluster.nodes.all["c"].unclaimed = 0;
    cluster.nodes.changed = [&] {
        cluster.check();
        FakeNode& target = cluster.nodes.all["b"];
        if (target.copies.contains("db") && target.copies["db"].source_fenced && target.process == 1)
            target.kill();
    };
    cluster.move_to("b");
    cluster.rounds_of(100);
    BOOST_TEST(cluster.failovers().size() == 1U);
    BOOST_TEST(cluster.was_said("failover_stuck"));
    cluster.nodes.all["b"].restart();
    cluster.until_well();
    BOOST_TEST(cluster.record().node == "b");
    BOOST_TEST(!cluster.record().rolled_back);
}

BOOST_AUTO_TEST_CASE(a_move_is_cancelled_as_long_as_its_source_is_not_fenced) {
    for (const bool fenced : {false, true}) {
        Cluster cluster;
        cluster.begin();
        cluster.nodes.slow = true;
        cluster.nodes.rebuild_silent = [&] { return !fenced && step(cluster) == Step::fencing; };
        cluster.move_to("b");
        cluster.rounds_of(3);
        BOOST_TEST(cluster.nodes.all["a"].copies["db"].fenced == fenced);
        auto move = load<FailoverRecord>(*cluster.directory, kFailoverPrefix, cluster.failovers()[0].id);
        move->value.cancelled_by = "somebody";
        BOOST_REQUIRE(store(*cluster.directory, kFailoverPrefix, move->value.id, *move));
        cluster.nodes.slow = false;
        ends_at(cluster, fenced ? "b" : "a", fenced ? 2 : 1);
        BOOST_TEST((step(cluster) == (fenced ? Step::done : Step::cancelled)));
    }
}

// ---- What else the leader does ----

namespace {

template <typename T>
void change(Cluster& cluster, const char* prefix, const std::string& name, std::function<void(T&)> how) {
    auto record = load<T>(*cluster.directory, prefix, name);
    BOOST_REQUIRE(record.has_value());
    how(record->value);
    BOOST_REQUIRE(store(*cluster.directory, prefix, name, *record));
}

}  // namespace

BOOST_AUTO_TEST_CASE(copies_that_nobody_needs_are_deleted_and_unknown_ones_stay) {
    Cluster cluster;
    cluster.begin();
    change<RegionRecord>(cluster, kRegionPrefix, "db", [](auto& region) { region.last_epoch = 5; });
    auto& b = cluster.nodes.all["b"].copies;
    auto& c = cluster.nodes.all["c"].copies;
    b["db"] = {
        .uid = "uid-db", .epoch = 5, .rebuilding = true, .job = true};  // of an attempt that was given up
    c["db"] = {.uid = "uid-db", .epoch = 6};                            // of one that is not on record yet
    b["gone"] = {.uid = "uid-gone"};
    c["gone"] = {.uid = "uid-of-another"};
    BOOST_REQUIRE(cluster.directory->put(std::string(kDeletedPrefix) + "uid-gone", {{"time_ms", 1}},
                                         Directory::kAbsent));
    cluster.rounds_of(20);
    BOOST_TEST(b.empty());
    BOOST_TEST(c.size() == 2U);
    BOOST_TEST(cluster.well());
}

BOOST_AUTO_TEST_CASE(a_drain_goes_on_when_there_is_room) {
    Cluster cluster;
    cluster.begin();
    for (const char* name : {"b", "c"})
        cluster.nodes.all[name].unclaimed = 0;
    change<NodeRecord>(cluster, kNodePrefix, "a", [](auto& node) {
        node.enabled = false;
        node.draining = true;
    });
    cluster.rounds_of(50);
    BOOST_TEST(cluster.failovers().empty());
    cluster.nodes.all["c"].unclaimed = 8192;
    cluster.rounds_of(10);
    cluster.until_well();
    BOOST_TEST(cluster.record().node == "c");
}

BOOST_AUTO_TEST_CASE(grants_to_recover_are_renewed) {
    Cluster cluster;
    cluster.begin();
    BOOST_TEST(cluster.record().granted_ms == 0U);
    cluster.nodes.now += 25h;
    cluster.next_lead = cluster.nodes.now;
    cluster.rounds_of(kSettle);
    BOOST_TEST(cluster.record().granted_ms > 0U);
    BOOST_TEST(cluster.well());
}

BOOST_AUTO_TEST_CASE(a_region_that_its_node_freezes_is_an_alarm_and_no_failover) {
    Cluster cluster;
    cluster.begin();
    cluster.nodes.all["a"].copies["db"].no_lease = true;
    cluster.rounds_of(200);
    BOOST_TEST(cluster.failovers().empty());
    BOOST_TEST(std::count_if(cluster.manager->events.begin(), cluster.manager->events.end(),
                             [](const auto& event) { return event.kind == "region_frozen"; }) == 1);
}

// ---- Races ----
