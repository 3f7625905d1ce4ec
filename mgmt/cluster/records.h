// SPDX-License-Identifier: BSD-3-Clause
// What the directory holds, as structs. Each record is one key, changed whole by compare-and-swap; fields
// that a newer manager has added are lost when an older one writes, so all managers of a cluster have one
// version.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace lagan::cluster {

inline constexpr const char* kNodePrefix = "nodes/";
inline constexpr const char* kRegionPrefix = "regions/";
inline constexpr const char* kFailoverPrefix = "failovers/";
inline constexpr const char* kTokenPrefix = "tokens/";
inline constexpr const char* kEventPrefix = "events/";
inline constexpr const char* kReplyPrefix = "replies/";  // to requests with an Idempotency-Key
inline constexpr const char* kDeletedPrefix =
    "deleted/";  // uids of regions whose copies may be left somewhere
inline constexpr const char* kLeaseKey = "settings/lease";

// An appliance.
struct NodeRecord {
    std::string name;
    std::string api;      // where its node API is: "unix:/run/lagan/lagand.sock", "https://host:port"
    std::string address;  // of its RDMA port, for clients and other appliances
    uint16_t port = 7471;
    bool enabled = true;    // may get regions
    bool draining = false;  // its regions move elsewhere, as soon as there is room
};

// A region that was reconstructed without its newest stores.
struct RollBack {
    uint64_t epoch = 0;  // from which on
    uint64_t cut_number = 0;
    uint64_t cut_time_us = 0;  // since 1970; 0: not known yet, or there was no cut
    uint64_t time_ms = 0;      // when it was decided
    std::string reason;
};

struct RegionRecord {
    // creating, deleting: at the node, or not. ready: served by `node`. rebuilding: served by `node` too,
    // which is not complete yet. failing_over: nobody gets a lease, until `node` is another.
    enum class State : uint8_t { creating, ready, rebuilding, failing_over, deleting };

    std::string name;
    std::string uid;          // 16 hexadecimal digits; empty while creating
    uint64_t epoch = 0;       // of the copy at `node`
    uint64_t last_epoch = 0;  // the newest that any attempt to reconstruct it was given
    std::string node;         // its home
    uint64_t size_bytes = 0;
    uint64_t reserve_bytes = 0;
    bool overcommit = false;
    std::string tenant;  // empty: nobody's in particular
    State state = State::creating;
    std::string recover_grant;  // secret: hexadecimal, for the copy at `node`
    uint64_t granted_ms = 0;    // when it was issued
    std::string failover;       // the one under way; empty: none
    std::optional<RollBack> rolled_back;
    uint64_t created_ms = 0;

    // Whether its home may get leases for it.
    bool served() const { return state == State::ready || state == State::rebuilding; }
};

struct FailoverRecord {
    enum class Kind : uint8_t { failure, move, drill };
    // detected: on record, the region claimed. target_chosen: with an epoch of its own. fencing: which source
    // is used is decided, the target has its order. rebuilding: the old home certainly serves no more.
    // switched: clients see the new home. Then an end.
    enum class Step : uint8_t {
        detected,
        target_chosen,
        fencing,
        rebuilding,
        switched,
        done,
        rolled_back,
        cancelled,   // the source is back and serves
        superseded,  // by another, of a later moment
        failed       // a move that cannot be made; the region stays where it is
    };
    enum class Source : uint8_t { undecided, live, rescue, none };

    std::string id;
    std::string region;
    std::string tenant;  // the region's, when it began: who may see it
    Kind kind = Kind::failure;
    Step step = Step::detected;
    std::string source;         // the old home
    uint64_t source_epoch = 0;  // of the copy there
    std::string source_grant;   // secret: recover grant of that copy
    Source source_kind = Source::undecided;
    bool source_given_up = false;   // it went away half-way: the baseline alone is left
    bool baseline_claimed = false;  // maybe: an attempt without a source was ordered, and has an epoch higher
                                    // than the source's
    bool rolls_back = false;        // stores at an earlier attempt's target are lost
    std::string target;
    std::string wanted_target;       // asked for by somebody; empty: the best
    std::string cancelled_by;        // who wants it to end, before the switch; empty: nobody
    std::vector<std::string> tried;  // targets that could not
    uint64_t epoch = 0;              // of the copy at the target
    std::string lease_over_by;       // "fence", "expiry"
    std::string reason;
    std::string problem;                                  // what it waits for, or why it has failed
    std::vector<std::pair<std::string, uint64_t>> times;  // step → ms since 1970, in order
    nlohmann::json progress;                              // the target's last word

    bool ended() const { return step >= Step::done; }
    // Whether stores that were acknowledged may be missing at its target.
    bool loses_stores() const { return rolls_back || source_kind == Source::none; }
};

enum class TokenRole : uint8_t { viewer, tenant, operate, admin };

struct TokenRecord {
    std::string hash;  // SHA-256 of the token, hexadecimal: also its key
    std::string name;
    TokenRole role = TokenRole::viewer;
    std::string tenant;  // of a tenant's token
    uint64_t created_ms = 0;
};

struct EventRecord {
    uint64_t number = 0;
    uint64_t time_ms = 0;
    std::string severity;  // info, warning, alarm
    std::string kind;
    std::string node;
    std::string region;
    std::string tenant;  // the region's, who may see it
    std::string text;
};

const char* to_string(RegionRecord::State state);
const char* to_string(FailoverRecord::Kind kind);
const char* to_string(FailoverRecord::Step step);
const char* to_string(FailoverRecord::Source source);
const char* to_string(TokenRole role);  // "operator" for operate
std::optional<TokenRole> role_from_text(const std::string& text);

// from_json throws nlohmann::json::exception when it is not such a record.
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(NodeRecord, name, api, address, port, enabled, draining)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(RollBack, epoch, cut_number, cut_time_us, time_ms, reason)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(EventRecord, number, time_ms, severity, kind, node, region, tenant, text)
void to_json(nlohmann::json& json, const RegionRecord& record);
void from_json(const nlohmann::json& json, RegionRecord& record);
void to_json(nlohmann::json& json, const FailoverRecord& record);
void from_json(const nlohmann::json& json, FailoverRecord& record);
void to_json(nlohmann::json& json, const TokenRecord& record);
void from_json(const nlohmann::json& json, TokenRecord& record);

// Events in the order of their numbers.
std::string event_key(uint64_t number);

}  // namespace lagan::cluster
