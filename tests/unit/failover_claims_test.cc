// SPDX-License-Identifier: BSD-3-Clause
// Failovers and regions name each other in two records: managers that read and write them at the same moment,
// or die in between, leave no region to a failover that nobody carries out.
#define BOOST_TEST_MODULE failover_claims
#include "tests/unit/managed_cluster.h"

using namespace lagan::test;

namespace {

using Cluster = ManagedCluster;

}  // namespace

// The leader's look falls between the two records that begin() writes: it claims the region first.
BOOST_AUTO_TEST_CASE(a_failover_that_the_leader_sees_at_once_is_carried_out_and_told) {
    Cluster cluster;
    cluster.begin();
    cluster.fate.meanwhile = [&cluster, seen = false]() mutable {
        const auto all = cluster.failovers();
        if (seen || all.empty() || !cluster.record().failover.empty()) return;
        seen = true;
        cluster.manager->runner.advance(all.back().id);
        BOOST_REQUIRE(cluster.record().failover == all.back().id);
    };
    const std::string id = cluster.move_to("");
    BOOST_REQUIRE(cluster.failovers().size() == 1U);
    BOOST_TEST(id == cluster.failovers().back().id);
    ends_at(cluster, "b", 2);
}

// Another manager has gone on between the reads of the failover and of its region.
BOOST_AUTO_TEST_CASE(a_failover_and_its_region_are_of_one_moment) {
    Cluster cluster;
    cluster.begin();
    const std::string id = cluster.move_to("");
    BOOST_REQUIRE(!id.empty());
    bool done = false;
    cluster.fate.before_get = [&](const std::string& key) {
        if (done || key != std::string(kRegionPrefix) + "db") return;
        done = true;
        const auto failover = cluster.directory->get(kFailoverPrefix + id);
        BOOST_REQUIRE(cluster.directory->put(kFailoverPrefix + id, failover->value, failover->revision));
    };
    cluster.manager->runner.advance(id);
    BOOST_TEST(done);
    ends_at(cluster, "b", 2);  // no epoch was spent on what the other has done
}

// It ends while another manager, that has not seen so, claims the region for it.
BOOST_AUTO_TEST_CASE(a_region_that_is_claimed_for_what_ends_is_let_go) {
    Cluster cluster;
    cluster.begin();
    const std::string id = cluster.move_to("");
    BOOST_REQUIRE(!id.empty());
    auto failover = load<FailoverRecord>(*cluster.directory, kFailoverPrefix, id);
    failover->value.cancelled_by = "a test";
    BOOST_REQUIRE(store(*cluster.directory, kFailoverPrefix, id, *failover));
    bool done = false;
    cluster.fate.meanwhile = [&] {
        auto record = load<RegionRecord>(*cluster.directory, kRegionPrefix, "db");
        if (done || !record->value.failover.empty()) return;  // the source has it again: just before the end
        done = true;
        record->value.failover = id;
        record->value.state = State::failing_over;
        BOOST_REQUIRE(store(*cluster.directory, kRegionPrefix, "db", *record));
    };
    cluster.manager->runner.advance(id);
    BOOST_TEST(done);
    BOOST_TEST(cluster.record().failover == "");
    BOOST_TEST((cluster.record().state == State::ready));
}

// An admin gives it up by force; its node is silent, so that this takes a while.
BOOST_AUTO_TEST_CASE(a_region_that_is_being_deleted_does_not_come_back) {
    Cluster cluster;
    cluster.begin();
    const std::string id = cluster.move_to("");
    auto deleting = load<RegionRecord>(*cluster.directory, kRegionPrefix, "db");
    deleting->value.state = State::deleting;
    BOOST_REQUIRE(store(*cluster.directory, kRegionPrefix, "db", *deleting));
    cluster.manager->runner.advance(id);
    BOOST_TEST((cluster.failovers()[0].step == Step::superseded));
    BOOST_TEST((cluster.record().state == State::deleting));
}

// The manager that claimed it died before it looked whether the failover has ended.
BOOST_AUTO_TEST_CASE(a_region_that_was_left_to_an_ended_failover_is_let_go) {
    Cluster cluster;
    cluster.begin();
    const std::string id = cluster.move_to("");
    auto failover = load<FailoverRecord>(*cluster.directory, kFailoverPrefix, id);
    failover->value.step = Step::cancelled;
    BOOST_REQUIRE(store(*cluster.directory, kFailoverPrefix, id, *failover));
    cluster.rounds_of(kSettle);
    cluster.until_well();
    BOOST_TEST(cluster.record().failover == "");
    BOOST_TEST(cluster.record().epoch == 1U);
}
