// SPDX-License-Identifier: BSD-3-Clause
// No order of events breaks the lease, fence and failover protocol; and each of its rules is needed: without
// it the same search finds how a promise is broken.
#define BOOST_TEST_MODULE lease_model
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>
#include <cstdlib>
#include <string_view>

#include "tests/model/explorer.h"

using namespace lagan::test::lease;

namespace {

constexpr const char* kTwoLeases = "two nodes hold a valid lease";
constexpr const char* kLostStore =
    "a node serves an older page than was acknowledged, and nobody says that it was rolled back";

constexpr const char* kEmptyHome = "clients are led to a home that has nothing";

// Large enough to fail over, and back.
constexpr Bounds kThereAndBack = {.nodes = 2, .stores = 1, .faults = 1, .last_epoch = 3};
constexpr Bounds kOnce = {.nodes = 2, .stores = 1, .faults = 1, .last_epoch = 2};
constexpr Bounds kNoCheckpoint = {
    .nodes = 2, .stores = 1, .faults = 1, .last_epoch = 2, .checkpointed = false};

void keeps_its_promises(const Bounds& bounds) {
    Explorer all(Rules{}, bounds);
    BOOST_TEST_MESSAGE(all.size() << " states: " << int{bounds.nodes} << " nodes, " << int{bounds.stores}
                                  << " stores, " << int{bounds.faults} << " faults, epochs up to "
                                  << int{bounds.last_epoch});
    BOOST_REQUIRE_MESSAGE(all.broken().empty(), all.broken() << ":\n" << all.way_to_violation());
    const auto stuck = all.stuck();
    BOOST_TEST(!stuck.has_value(), "the region is never served again after:\n"
                                       << all.way_to(stuck.value_or(0)));
}

struct Mutation {
    const char* rule;
    bool Rules::*without;
    const char* promise;
    Bounds bounds;
};
std::ostream& operator<<(std::ostream& to, const Mutation& mutation) {
    return to << mutation.rule;
}

#define WITHOUT(rule) #rule, &Rules::rule
const Mutation kUnsafe[] = {
    {WITHOUT(lease_counts_from_base), kTwoLeases, kOnce},
    {WITHOUT(base_names_its_process), kTwoLeases, kOnce},
    {WITHOUT(frozen_after_start), kTwoLeases, kOnce},
    {WITHOUT(epoch_is_checked), kTwoLeases, kThereAndBack},
    {WITHOUT(manager_waits_for_lease_end), kTwoLeases, kOnce},
    {WITHOUT(new_leader_waits), kTwoLeases, kOnce},
    {WITHOUT(leadership_counts_from_request), kTwoLeases, kOnce},
    {WITHOUT(base_before_leadership), kTwoLeases, kOnce},
    {WITHOUT(no_lease_during_failover), kTwoLeases, kOnce},
    {WITHOUT(lists_after_settled), kLostStore, kOnce},
    {WITHOUT(baseline_is_claimed), kLostStore, kOnce},
    {WITHOUT(source_is_complete), kLostStore, kThereAndBack},
    {WITHOUT(baseline_alone_rolls_back), kLostStore, kOnce},
    {WITHOUT(every_attempt_has_its_epoch), kTwoLeases, kOnce},
    {WITHOUT(source_has_the_homes_epoch), kLostStore, kThereAndBack},
    {WITHOUT(checkpoint_before_switch), kEmptyHome, kNoCheckpoint},
};
const Mutation kEndless[] = {
    {WITHOUT(switched_can_be_rolled_back), "", {.stores = 0}},
    {WITHOUT(attempts_can_be_given_up), "", {.stores = 0}},
};
#undef WITHOUT

}  // namespace

BOOST_AUTO_TEST_CASE(there_and_back) {
    keeps_its_promises(kThereAndBack);
}

BOOST_AUTO_TEST_CASE(three_nodes) {
    keeps_its_promises({.nodes = 3, .stores = 1, .faults = 1, .last_epoch = 2});
}

BOOST_AUTO_TEST_CASE(two_stores_and_two_faults) {
    keeps_its_promises({.nodes = 2, .stores = 2, .faults = 2, .last_epoch = 2});
}

// It need not end, when a node is lost with the only copy.
BOOST_AUTO_TEST_CASE(before_any_checkpoint) {
    const Explorer all(Rules{}, kNoCheckpoint);
    BOOST_REQUIRE_MESSAGE(all.broken().empty(), all.broken() << ":\n" << all.way_to_violation());
}

BOOST_AUTO_TEST_CASE(long_form) {
    const char* const wanted = std::getenv("LAGAN_TEST_LONG");
    if (wanted == nullptr || std::string_view(wanted) == "0") return;
    keeps_its_promises({.nodes = 2, .stores = 2, .faults = 1, .last_epoch = 3});
    keeps_its_promises({.nodes = 3, .stores = 1, .faults = 0, .last_epoch = 3});
}

BOOST_DATA_TEST_CASE(a_promise_is_broken_without, boost::unit_test::data::make(kUnsafe), mutation) {
    Rules rules;
    rules.*mutation.without = false;
    const Explorer found(rules, mutation.bounds);
    BOOST_REQUIRE_MESSAGE(!found.broken().empty(),
                          "nothing goes wrong without it, in " << found.size() << " states");
    BOOST_TEST(found.broken() == mutation.promise);
    BOOST_TEST_MESSAGE(mutation.rule << ": " << found.broken() << ":\n" << found.way_to_violation());
}

BOOST_DATA_TEST_CASE(it_may_never_end_without, boost::unit_test::data::make(kEndless), mutation) {
    Rules rules;
    rules.*mutation.without = false;
    Explorer found(rules, mutation.bounds);
    BOOST_TEST(found.broken() == mutation.promise);
    const auto stuck = found.stuck();
    BOOST_REQUIRE_MESSAGE(stuck.has_value(), "it ends without it, in " << found.size() << " states");
    BOOST_TEST_MESSAGE(mutation.rule << ": never served again after:\n" << found.way_to(*stuck));
}
