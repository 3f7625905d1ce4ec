// SPDX-License-Identifier: BSD-3-Clause
// The manager dies before and after everything that it does to the outside, and another one ends what it
// began.
#define BOOST_TEST_MODULE failover_crash
#include "tests/unit/logged_seed.h"
#include "tests/unit/managed_cluster.h"

using namespace lagan::test;

namespace {

using Cluster = ManagedCluster;

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
