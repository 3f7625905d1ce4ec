// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/cluster/records.h"

#include <fmt/format.h>

#include <array>
#include <stdexcept>

namespace lagan::cluster {

using nlohmann::json;

namespace {

constexpr std::array<const char*, 5> kStates{"creating", "ready", "rebuilding", "failing_over", "deleting"};
constexpr std::array<const char*, 3> kKinds{"failure", "move", "drill"};
constexpr std::array<const char*, 10> kSteps{"detected",   "target_chosen", "fencing",     "rebuilding",
                                             "switched",   "done",          "rolled_back", "cancelled",
                                             "superseded", "failed"};
constexpr std::array<const char*, 4> kSources{"undecided", "live", "rescue", "none"};
constexpr std::array<const char*, 4> kRoles{"viewer", "tenant", "operator", "admin"};

template <typename T, size_t kCount>
T named(const json& value, const std::array<const char*, kCount>& names) {
    const auto& text = value.get_ref<const std::string&>();
    for (size_t i = 0; i < kCount; ++i)
        if (text == names[i]) return static_cast<T>(i);
    throw json::other_error::create(501, "unknown word in a record: " + text, &value);
}

template <typename T>
void read(const json& from, const char* key, T& to) {
    from.at(key).get_to(to);
}

}  // namespace

const char* to_string(RegionRecord::State state) {
    return kStates.at(static_cast<size_t>(state));
}
const char* to_string(FailoverRecord::Kind kind) {
    return kKinds.at(static_cast<size_t>(kind));
}
const char* to_string(FailoverRecord::Step step) {
    return kSteps.at(static_cast<size_t>(step));
}
const char* to_string(FailoverRecord::Source source) {
    return kSources.at(static_cast<size_t>(source));
}
const char* to_string(TokenRole role) {
    return kRoles.at(static_cast<size_t>(role));
}

std::optional<TokenRole> role_from_text(const std::string& text) {
    for (size_t i = 0; i < kRoles.size(); ++i)
        if (text == kRoles.at(i)) return static_cast<TokenRole>(i);
    return std::nullopt;
}

void to_json(json& to, const RegionRecord& record) {
    to = {{"name", record.name},
          {"uid", record.uid},
          {"epoch", record.epoch},
          {"last_epoch", record.last_epoch},
          {"node", record.node},
          {"size_bytes", record.size_bytes},
          {"reserve_bytes", record.reserve_bytes},
          {"overcommit", record.overcommit},
          {"tenant", record.tenant},
          {"state", to_string(record.state)},
          {"recover_grant", record.recover_grant},
          {"granted_ms", record.granted_ms},
          {"failover", record.failover},
          {"rolled_back", record.rolled_back ? json(*record.rolled_back) : json()},
          {"created_ms", record.created_ms}};
}

void from_json(const json& from, RegionRecord& record) {
    read(from, "name", record.name);
    read(from, "uid", record.uid);
    read(from, "epoch", record.epoch);
    read(from, "last_epoch", record.last_epoch);
    read(from, "node", record.node);
    read(from, "size_bytes", record.size_bytes);
    read(from, "reserve_bytes", record.reserve_bytes);
    read(from, "overcommit", record.overcommit);
    read(from, "tenant", record.tenant);
    record.state = named<RegionRecord::State>(from.at("state"), kStates);
    read(from, "recover_grant", record.recover_grant);
    read(from, "granted_ms", record.granted_ms);
    read(from, "failover", record.failover);
    const json& rolled_back = from.at("rolled_back");
    record.rolled_back = rolled_back.is_null() ? std::nullopt : std::optional(rolled_back.get<RollBack>());
    read(from, "created_ms", record.created_ms);
}

void to_json(json& to, const FailoverRecord& record) {
    to = {{"id", record.id},
          {"region", record.region},
          {"tenant", record.tenant},
          {"kind", to_string(record.kind)},
          {"step", to_string(record.step)},
          {"source", record.source},
          {"source_epoch", record.source_epoch},
          {"source_grant", record.source_grant},
          {"source_kind", to_string(record.source_kind)},
          {"source_given_up", record.source_given_up},
          {"baseline_claimed", record.baseline_claimed},
          {"rolls_back", record.rolls_back},
          {"target", record.target},
          {"wanted_target", record.wanted_target},
          {"cancelled_by", record.cancelled_by},
          {"tried", record.tried},
          {"epoch", record.epoch},
          {"lease_over_by", record.lease_over_by},
          {"reason", record.reason},
          {"problem", record.problem},
          {"times", json::array()},
          {"progress", record.progress}};
    for (const auto& [step, ms] : record.times)
        to["times"].push_back({{"step", step}, {"ms", ms}});
}

void from_json(const json& from, FailoverRecord& record) {
    read(from, "id", record.id);
    read(from, "region", record.region);
    read(from, "tenant", record.tenant);
    record.kind = named<FailoverRecord::Kind>(from.at("kind"), kKinds);
    record.step = named<FailoverRecord::Step>(from.at("step"), kSteps);
    read(from, "source", record.source);
    read(from, "source_epoch", record.source_epoch);
    read(from, "source_grant", record.source_grant);
    record.source_kind = named<FailoverRecord::Source>(from.at("source_kind"), kSources);
    read(from, "source_given_up", record.source_given_up);
    read(from, "baseline_claimed", record.baseline_claimed);
    read(from, "rolls_back", record.rolls_back);
    read(from, "target", record.target);
    read(from, "wanted_target", record.wanted_target);
    read(from, "cancelled_by", record.cancelled_by);
    read(from, "tried", record.tried);
    read(from, "epoch", record.epoch);
    read(from, "lease_over_by", record.lease_over_by);
    read(from, "reason", record.reason);
    read(from, "problem", record.problem);
    record.times.clear();
    for (const json& time : from.at("times"))
        record.times.emplace_back(time.at("step").get<std::string>(), time.at("ms").get<uint64_t>());
    record.progress = from.at("progress");
}

void to_json(json& to, const TokenRecord& record) {
    to = {{"hash", record.hash},
          {"name", record.name},
          {"role", to_string(record.role)},
          {"tenant", record.tenant},
          {"created_ms", record.created_ms}};
}

void from_json(const json& from, TokenRecord& record) {
    read(from, "hash", record.hash);
    read(from, "name", record.name);
    record.role = named<TokenRole>(from.at("role"), kRoles);
    read(from, "tenant", record.tenant);
    read(from, "created_ms", record.created_ms);
}

std::string event_key(uint64_t number) {
    return fmt::format("{}{:016}", kEventPrefix, number);
}

}  // namespace lagan::cluster
