// SPDX-License-Identifier: BSD-3-Clause
// Nodes for the tests of the manager: what an appliance promises, on a clock of the test's own. Everything
// that the manager does to the outside can be its last.
#pragma once

#include <boost/test/unit_test.hpp>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "mgmt/cluster/controller.h"
#include "mgmt/cluster/directory.h"

namespace lagan::test {

using namespace lagan::cluster;
using namespace std::chrono_literals;

struct ManagerDied {};

// Counts what the manager does, and ends it at one of these.
struct Fate {
    int calls = 0;
    int dies_at = -1;                                    // at this call
    bool after = false;                                  // when it was carried out
    std::function<void()> meanwhile;                     // what others do just before each of these
    std::function<void(const std::string&)> before_get;  // and before a record is read

    template <typename Work>
    auto pass(Work&& work) {
        if (meanwhile) meanwhile();
        const bool last = ++calls == dies_at;
        if (last && !after) throw ManagerDied{};
        if constexpr (std::is_void_v<decltype(work())>) {
            work();
            if (last) throw ManagerDied{};
        } else {
            auto result = work();
            if (last) throw ManagerDied{};
            return result;
        }
    }
};

class FatefulDirectory final : public Directory {
  public:
    FatefulDirectory(Directory& directory, Fate& fate) : directory_(directory), fate_(fate) {}
    std::optional<Entry> get(const std::string& key) override {
        if (fate_.before_get) fate_.before_get(key);
        return directory_.get(key);
    }
    std::vector<Entry> list(const std::string& prefix, const std::string& after, uint64_t limit) override {
        return directory_.list(prefix, after, limit);
    }
    std::optional<uint64_t> put(const std::string& key, const nlohmann::json& value,
                                uint64_t expected) override {
        return fate_.pass([&] { return directory_.put(key, value, expected); });
    }
    bool remove(const std::string& key, uint64_t expected) override {
        return fate_.pass([&] { return directory_.remove(key, expected); });
    }
    uint64_t revision() override { return directory_.revision(); }
    bool campaign(const std::string& candidate, std::chrono::milliseconds ttl) override {
        return directory_.campaign(candidate, ttl);
    }
    std::string leader() override { return directory_.leader(); }
    void resign(const std::string& candidate) override { directory_.resign(candidate); }
    std::string describe() const override { return directory_.describe(); }

  private:
    Directory& directory_;
    Fate& fate_;
};

struct FakeCopy {
    std::string uid;
    bool managed = true;
    uint64_t epoch = 1;
    Clock::time_point lease_until{};
    bool fenced = false;
    bool no_lease = false;  // takes none
    int value = 0;          // the newest store that it has
    // Of a reconstruction.
    bool rebuilding = false;
    bool job = false;  // the process knows of it: not one that was started again
    std::string state = "done";
    std::string problem;
    uint64_t cut_number = 0;
    std::string source;  // the node; empty: the baseline alone
    uint64_t source_epoch = 0;
    bool source_fenced = false;
    int own_value = 0;  // stored here since
};

struct FakeNode {
    bool api = true;       // answers the manager
    bool rdma = true;      // answers other nodes
    bool refuses = false;  // them, by RDMA
    bool blind = false;    // cannot ask others
    bool clients = true;   // answers its clients
    std::string mode = "serve";
    int process = 1;
    uint64_t unclaimed = 1 << 30;
    std::map<std::string, FakeCopy> copies;

    void kill() { api = rdma = clients = false; }
    void cut_off() { api = rdma = false; }  // its clients still reach it
    // The arena is as it was; nothing is served before there is a lease.
    void restart(const std::string& as = "serve") {
        api = rdma = clients = true;
        mode = as;
        ++process;
        for (auto& [name, copy] : copies) {
            copy.lease_until = {};
            copy.job = false;
        }
    }
};

class FakeNodes final : public NodeClient {
  public:
    explicit FakeNodes(Fate& fate) : fate_(fate) {}

    std::map<std::string, FakeNode> all;
    Clock::time_point now{1h};
    int baseline = 0;
    bool has_baseline = true;  // a checkpoint is there
    bool store_silent = false;
    RebuildOrder last_order;
    bool store_answers = true;
    bool slow = false;                                            // no reconstruction comes to its end
    std::function<bool()> rebuild_silent = [] { return false; };  // GET /v1/rebuilds times out
    std::function<void()> changed = [] {};                        // after everything that happens

    HeartbeatReply heartbeat(const NodeRecord& record, const LeaseBook::Heartbeat& heartbeat) override {
        FakeNode& node = reach(record.name);
        for (const Copy& wanted : heartbeat.copies) {
            const auto copy = node.copies.find(wanted.region);
            if (copy == node.copies.end() || copy->second.epoch != wanted.epoch || copy->second.fenced ||
                copy->second.no_lease || heartbeat.instance != std::to_string(node.process) ||
                node.mode != "serve")
                continue;
            copy->second.lease_until =
                std::max(copy->second.lease_until,
                         Clock::time_point(std::chrono::milliseconds(heartbeat.base_ms)) + heartbeat.ttl);
        }
        changed();
        HeartbeatReply reply{
            .instance = std::to_string(node.process),
            .now_ms = static_cast<uint64_t>(
                std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count()),
            .mode = node.mode,
            .unclaimed_bytes = node.unclaimed};
        for (const auto& [name, copy] : node.copies)
            reply.regions.push_back({.name = name,
                                     .uid = copy.uid,
                                     .epoch = copy.epoch,
                                     .state = copy.rebuilding ? "rebuilding" : "ready",
                                     .lease = copy.fenced              ? "fenced"
                                              : copy.lease_until > now ? "valid"
                                                                       : "expired"});
        return reply;
    }
    nlohmann::json status(const NodeRecord&) override { return {}; }
    nlohmann::json region(const NodeRecord& record, const std::string& name) override {
        FakeNode& node = reach(record.name);
        const auto copy = node.copies.find(name);
        if (copy == node.copies.end()) throw NodeError(404, "no such region");
        return {{"uid", copy->second.uid},
                {"managed", copy->second.managed},
                {"epoch", copy->second.epoch},
                {"size_bytes", 4096},
                {"reserve_bytes", 4096}};
    }
    nlohmann::json create_region(const NodeRecord& record, const RegionRecord& region) override {
        return fate_.pass([&] {
            reach(record.name).copies[region.name] = {.uid = "uid-" + region.name};
            return nlohmann::json();
        });
    }
    void delete_region(const NodeRecord& record, const std::string& name, uint64_t epoch) override {
        fate_.pass([&] {
            FakeNode& node = reach(record.name);
            const auto copy = node.copies.find(name);
            if (copy != node.copies.end() && copy->second.epoch == epoch) {
                if (copy->second.job && copy->second.rebuilding) throw NodeError(409, "it is being rebuilt");
                node.copies.erase(copy);
            }
            changed();
        });
    }
    IssuedGrant grant(const NodeRecord& record, const std::string& region, const std::string& role,
                      uint64_t) override {
        return fate_.pass([&] {
            const FakeNode& node = reach(record.name);
            if (!node.copies.contains(region)) throw NodeError(404, "no such region");
            return IssuedGrant{.grant = role + " of " + region + " at " + record.name, .expires = 1};
        });
    }
    std::optional<bool> has_store(const NodeRecord& record, const std::string&) override {
        reach(record.name);
        if (store_silent) return std::nullopt;
        return true;
    }
    void order_rebuild(const NodeRecord& record, const RebuildOrder& order) override {
        fate_.pass([&] {
            FakeNode& node = reach(record.name);
            last_order = order;
            const auto old = node.copies.find(order.region);
            if (old != node.copies.end() && old->second.epoch == order.epoch) {
                FakeCopy& copy = old->second;
                if (!copy.rebuilding || (copy.job && copy.state != "failed")) return;
                copy.job = true;
                copy.state = order.source ? "fencing" : "rebuilding";
                return;
            }
            if (old != node.copies.end()) throw NodeError(409, "it has the region already");
            if (node.unclaimed < order.size_bytes) throw NodeError(507, "no room");
            node.copies[order.region] = {.uid = order.uid,
                                         .epoch = order.epoch,
                                         .rebuilding = true,
                                         .job = true,
                                         .state = order.source ? "fencing" : "rebuilding",
                                         .source = order.source ? order.source->address : "",
                                         .source_epoch = order.source ? order.source->epoch : 0};
            changed();
        });
    }
    std::optional<RebuildStatus> rebuild(const NodeRecord& record, const std::string& region) override {
        FakeNode& node = reach(record.name);
        if (rebuild_silent()) throw NodeError(0, "no answer in time");
        const auto found = node.copies.find(region);
        if (found == node.copies.end() || !found->second.job) return std::nullopt;
        FakeCopy& copy = found->second;
        if (copy.rebuilding) go_on(region, copy);
        changed();
        return RebuildStatus{.state = copy.state,
                             .epoch = copy.epoch,
                             .fenced = copy.source_fenced,
                             .cut_number = copy.cut_number,
                             .problem = copy.state == "source_lost" ? "the source is gone" : copy.problem};
    }
    void drop_rebuild(const NodeRecord& record, const std::string& region, uint64_t epoch) override {
        fate_.pass([&] {
            FakeNode& node = reach(record.name);
            const auto copy = node.copies.find(region);
            if (copy != node.copies.end() && copy->second.rebuilding && copy->second.epoch == epoch)
                node.copies.erase(copy);
            changed();
        });
    }
    Probe probe(const NodeRecord& by, const NodeRecord& source, const std::string&) override {
        if (!all.at(by.name).api || all.at(by.name).blind) return Probe::not_asked;
        const FakeNode& node = all.at(source.name);
        return !node.rdma ? Probe::silent : node.refuses ? Probe::refuses : Probe::answers;
    }
    std::pair<unsigned, nlohmann::json> call(const NodeRecord&, const std::string&, const std::string&,
                                             const nlohmann::json&) override {
        return {404, {}};
    }

    bool serves(const FakeNode& node, const FakeCopy& copy) const {
        return node.clients && node.mode == "serve" && !copy.fenced && copy.lease_until > now;
    }

  private:
    FakeNode& reach(const std::string& name) {
        FakeNode& node = all.at(name);
        if (!node.api) throw NodeError(0, name + " does not answer");
        return node;
    }
    // One step of a reconstruction.
    void go_on(const std::string& region, FakeCopy& copy) {
        if (copy.state == "failed") return;
        copy.problem.clear();
        if (copy.source.empty()) return from_baseline(copy);
        FakeNode& node = all.at(copy.source);
        const auto source = node.copies.find(region);
        if (!node.rdma || node.refuses || source == node.copies.end() ||
            source->second.epoch != copy.source_epoch) {
            copy.state = "source_lost";
            return;
        }
        if (copy.state == "fencing" || copy.state == "source_lost") {
            source->second.fenced = copy.source_fenced = true;
            copy.state = "reading_lists";
        } else if (copy.state == "reading_lists") {
            copy.state = "rebuilding";
        } else if (!slow) {
            end(copy, source->second.value);
        }
    }
    void from_baseline(FakeCopy& copy) const {
        if (!store_answers) return;
        if (!has_baseline) return fail(copy, "there is no baseline");
        if (copy.cut_number == 0) {
            copy.cut_number = 7;
        } else if (!slow) {
            end(copy, baseline);
        }
    }
    static void fail(FakeCopy& copy, const char* why) {
        copy.state = "failed";
        copy.problem = why;
    }
    static void end(FakeCopy& copy, int value) {
        copy.value = std::max(copy.own_value, value);
        copy.rebuilding = false;
        copy.state = "done";
    }

    Fate& fate_;
};

}  // namespace lagan::test
