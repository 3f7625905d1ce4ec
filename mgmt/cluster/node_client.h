// SPDX-License-Identifier: BSD-3-Clause
// What the manager asks of an appliance: its node API, as functions. Tests have their own.
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "mgmt/cluster/lease_book.h"
#include "mgmt/cluster/records.h"

namespace lagan::cluster {

// No answer, or one that says no.
struct NodeError : std::runtime_error {
    unsigned status;  // HTTP; 0: no answer, and the request may have been carried out
    NodeError(unsigned http_status, const std::string& what)
        : std::runtime_error(what), status(http_status) {}
};

// A region as its node tells of it.
struct HeardRegion {
    std::string name;
    std::string uid;
    uint64_t epoch = 0;
    std::string state;  // "ready", "rebuilding", "restoring", ...
    std::string lease;  // "valid", "expired", "fenced", "unmanaged"
    uint64_t dirty_pages = 0;
};

struct HeartbeatReply {
    std::string instance;  // of the process, whose clock now_ms is of
    uint64_t now_ms = 0;
    std::string mode;  // "serve", "rescue"
    uint64_t total_bytes = 0;
    uint64_t unclaimed_bytes = 0;
    std::vector<HeardRegion> regions;
};

struct RebuildOrder {
    std::string region;
    std::string uid;
    uint64_t epoch = 0;  // of the new copy
    uint64_t size_bytes = 0;
    uint64_t reserve_bytes = 0;
    bool overcommit = false;
    bool baseline = false;  // the target has a store, and uses what is in it
    struct Source {
        std::string address;
        uint16_t port = 0;
        std::string grant;
        uint64_t epoch = 0;
    };
    std::optional<Source> source;  // nothing: the baseline alone
};

struct RebuildStatus {
    std::string state;  // "fencing", "reading_lists", "rebuilding", "done", "failed", "source_lost"
    uint64_t epoch = 0;
    bool fenced = false;  // the source's fence has settled: it stores nothing any more
    uint64_t cut_number = 0;
    uint64_t cut_time_us = 0;
    std::string problem;
    nlohmann::json progress;  // all that the node says

    bool failed() const { return state == "failed"; }
    bool lost() const { return failed() || state == "source_lost"; }
};

// What a datapath says to a node that wants to read from it. not_asked: that node cannot, or does not tell.
enum class Probe : uint8_t { silent, refuses, answers, not_asked };

struct IssuedGrant {
    std::string grant;  // hexadecimal; secret
    uint64_t expires = 0;
};

// Any thread; every call may throw NodeError.
class NodeClient {
  public:
    virtual ~NodeClient() = default;

    virtual HeartbeatReply heartbeat(const NodeRecord& node, const LeaseBook::Heartbeat& heartbeat) = 0;
    virtual nlohmann::json status(const NodeRecord& node) = 0;  // GET /v1/node
    virtual nlohmann::json region(const NodeRecord& node, const std::string& name) = 0;
    virtual nlohmann::json create_region(const NodeRecord& node, const RegionRecord& region) = 0;
    // Of this epoch; one that is not there is no error.
    virtual void delete_region(const NodeRecord& node, const std::string& name, uint64_t epoch) = 0;
    virtual IssuedGrant grant(const NodeRecord& node, const std::string& region, const std::string& role,
                              uint64_t ttl_s) = 0;

    // Whether a baseline store is configured there; nothing: it does not answer in time.
    virtual std::optional<bool> has_store(const NodeRecord& node, const std::string& region) = 0;
    // The same order again changes nothing.
    virtual void order_rebuild(const NodeRecord& target, const RebuildOrder& order) = 0;
    virtual std::optional<RebuildStatus> rebuild(const NodeRecord& target, const std::string& region) = 0;
    // Of this epoch; one that is not there, or is whole, is no error.
    virtual void drop_rebuild(const NodeRecord& target, const std::string& region, uint64_t epoch) = 0;
    // Whether `source`'s datapath answers RDMA READs of the node `by`.
    virtual Probe probe(const NodeRecord& by, const NodeRecord& source, const std::string& grant) = 0;

    // Anything else, handed on: the answer's body and status.
    virtual std::pair<unsigned, nlohmann::json> call(const NodeRecord& node, const std::string& method,
                                                     const std::string& target,
                                                     const nlohmann::json& body) = 0;
};

}  // namespace lagan::cluster
