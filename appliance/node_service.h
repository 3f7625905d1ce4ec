// SPDX-License-Identifier: BSD-3-Clause
// What the node API can ask of an appliance. The API's thread never calls this itself: every call is carried
// out on the control thread (control_queue.h), which owns regions and connections.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "datapath/qp_attributes.h"
#include "mgmt/recovery/events.h"

namespace lagan::appliance {

class Recovery;
class Rebuilds;

struct RegionSpec {
    std::string name;
    uint64_t size_bytes = 0;
    uint64_t reserve_bytes = 0;  // 0: the whole size
    bool overcommit = false;     // the reserve may be smaller than the size
    bool temporary = false;      // goes with its last connection
    bool managed = false;        // served while its lease lasts, not before it has one
};

struct RegionStatus {
    std::string name;
    uint32_t id = 0;
    uint64_t size_bytes = 0;
    uint64_t reserve_bytes = 0;
    uint32_t page_bytes = 0;
    uint64_t present_pages = 0;   // pages that hold a frame
    uint64_t dirty_pages = 0;     // of both lists
    uint64_t damaged_pages = 0;   // of the present ones: reads of them are refused
    uint64_t draining_pages = 0;  // of these, in the cut that is being written
    uint64_t cut_number = 0;      // of the newest cut; 0: none
    uint64_t durable_cut = 0;     // the newest that is whole in the baseline
    uint64_t uid = 0;
    bool temporary = false;
    bool restoring = false;
    bool rebuilding = false;
    uint64_t pending_pages = 0;  // of a region that is being rebuilt: not here yet
    bool managed = false;
    const char* lease = "unmanaged";  // "valid", "expired", "fenced"
    uint64_t fence_epoch = 0;         // of the home that has had this one stop
    uint64_t epoch = 0;
    uint32_t data_rkey = 0;
    uint32_t dirty_rkey = 0;
    uint32_t connections = 0;
};

struct PortStatus {
    std::string name;
    std::string kind;
    std::string path;  // unix socket, interface or PCI address, whatever the kind goes by
    std::string mac;
    std::vector<std::string> addresses;  // with prefix length
    std::string peer_address;            // empty: none configured
    uint32_t mtu_bytes = 0;
    bool link_up = false;
};

// Of a rescue: a region too damaged to be served.
struct LeftOutStatus {
    uint32_t id = 0;
    std::string reason;
};

struct NodeStatus {
    std::string name;
    std::string version;
    uint64_t uptime_s = 0;
    uint64_t memory_bytes = 0;            // of all frames
    uint64_t memory_free_bytes = 0;       // of free frames
    uint64_t memory_unclaimed_bytes = 0;  // what a new region's reserve may take
    std::string arena;
    bool huge_pages = false;
    uint16_t rdma_service_port = 0;
    std::vector<PortStatus> ports;
    std::vector<std::string> lcores;  // one line for people each
    bool rescue = false;              // only reads, only to recover
    std::vector<LeftOutStatus> left_out;
};

struct LeaseRequest {
    std::string name;
    uint64_t uid = 0;
    uint64_t epoch = 0;
};

struct HeartbeatRequest {
    std::string instance;  // whose time base_ms is
    std::optional<uint64_t> base_ms;
    uint64_t ttl_ms = 0;
    std::vector<LeaseRequest> regions;
};

struct HeartbeatReply {
    std::string node{};  // its name
    std::string instance;
    uint64_t now_ms = 0;
    uint64_t heartbeat = 0;  // answered so far
    bool rescue = false;
    std::vector<RegionStatus> regions;
    std::vector<std::pair<std::string, std::string>> refused;  // region, why its lease was not renewed
    uint64_t memory_bytes = 0;
    uint64_t memory_free_bytes = 0;
    uint64_t memory_unclaimed_bytes = 0;
};

struct IssuedGrant {
    std::string hex;
    uint64_t expires_unix_s = 0;
};

// A request that cannot be carried out, and why, in one sentence for people.
struct ServiceError : std::runtime_error {
    enum class Kind : uint8_t { not_found, exists, invalid, no_room, unavailable, busy, forbidden };
    Kind kind;
    ServiceError(Kind k, const std::string& what) : std::runtime_error(what), kind(k) {}
};

// All functions: control thread only. Functions that name a region throw ServiceError.
class NodeService {
  public:
    virtual ~NodeService() = default;

    virtual NodeStatus node() = 0;
    virtual std::vector<RegionStatus> regions() = 0;
    virtual RegionStatus region(const std::string& name) = 0;
    virtual RegionStatus create_region(const RegionSpec& spec) = 0;
    // Closes its connections first. Epoch 0: whichever it has. Without any, a managed region is refused: its
    // manager would make it anew, from its baseline.
    virtual void delete_region(const std::string& name, std::optional<uint64_t> epoch) = 0;
    virtual HeartbeatReply heartbeat(const HeartbeatRequest& request) = 0;
    virtual RegionStatus fence_region(const std::string& name, uint64_t epoch) = 0;
    virtual IssuedGrant make_grant(const std::string& name, Role role, uint64_t ttl_s) = 0;
    virtual nlohmann::json statistics() = 0;

    // Any thread. Null: no checkpoints are made here.
    virtual Recovery* recovery() { return nullptr; }
    // Any thread. Null: a rescue.
    virtual Rebuilds* rebuilds() { return nullptr; }
    virtual std::vector<recovery::Event> events_after(uint64_t number) = 0;
};

}  // namespace lagan::appliance
