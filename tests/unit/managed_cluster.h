// SPDX-License-Identifier: BSD-3-Clause
// A manager and its directory over fake nodes, with one region, and a client that stores wherever somebody
// serves. After everything that happens it is checked that at most one node serves, and that no store that
// was acknowledged is missing where nobody says so.
#pragma once

#include "tests/unit/fake_cluster.h"
#include "tests/unit/scratch_folder.h"

namespace lagan::test {

inline constexpr auto kRound = 100ms;
inline constexpr auto kLeaseTtl = 1500ms;
inline constexpr auto kLeaderTtl = 3000ms;
inline constexpr int kSettle = 60;  // rounds until a new manager leads and has seen everybody

using State = RegionRecord::State;
using Step = FailoverRecord::Step;

// A manager's memory, which goes with it.
struct Manager {
    // `ahead`: of the others' clocks, which tell the time of day.
    Manager(Directory& real, FakeNodes& nodes, Fate& fate, const FailoverPolicy& policy,
            std::chrono::milliseconds ahead = 0ms)
        : directory(real, fate),
          views(directory),
          leases(kLeaseTtl),
          observations({.interval = 200ms}),
          clocks{.now = [&nodes] { return nodes.now; },
                 .unix_ms =
                     [&nodes, ahead] {
                         return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                                          nodes.now.time_since_epoch() + ahead)
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

struct ManagedCluster {
    ManagedCluster() {
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
    void successor(bool resigned = false, std::chrono::milliseconds ahead = 0ms) {
        ++deaths;
        fate.dies_at = -1;
        manager = std::make_unique<Manager>(*directory, nodes, fate, policy, ahead);
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
    bool was_said(const std::string& kind) const {  // by this manager
        return std::any_of(manager->events.begin(), manager->events.end(),
                           [&](const EventRecord& event) { return event.kind == kind; });
    }
    // "": wherever there is room.
    std::string move_to(const std::string& target) {
        const auto region = load<RegionRecord>(*directory, kRegionPrefix, "db");
        return manager->runner.begin(
            *region, {.kind = FailoverRecord::Kind::move, .wanted_target = target, .reason = "asked"});
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

inline void ends_at(ManagedCluster& cluster, const std::string& node, uint64_t epoch) {
    cluster.until_well(1000);
    BOOST_TEST(cluster.record().node == node);
    BOOST_TEST(cluster.record().epoch == epoch);
    BOOST_TEST(!cluster.record().rolled_back);
    BOOST_TEST(cluster.failovers().size() == 1U);
}

}  // namespace lagan::test
