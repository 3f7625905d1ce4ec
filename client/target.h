// SPDX-License-Identifier: BSD-3-Clause
// The region that a command works on, and the way there: through a DPDK port of this machine or through an
// RDMA device; with an appliance's node API, with a grant alone, or with a manager that says where it lives.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/connect.h"
#include "client/home.h"
#include "client/manager.h"
#include "client/reconnecting_fabric.h"

namespace lagan::client {

enum class FabricKind : uint8_t { dpdk, verbs };

struct TargetOptions {
    FabricKind fabric = FabricKind::dpdk;
    std::string appliance = kDefaultAppliance;  // the node API's socket; not used with a grant or a manager
    std::string address;         // verbs: the appliance's, "10.77.0.1:7471"; empty: the node API says it
    std::vector<uint8_t> grant;  // verbs: says which region, and what is allowed there; empty: asked for
    ManagerOptions manager;      // if it has URLs: says where the region lives, and gives the grant
    OnRollBack on_roll_back = OnRollBack::stop;  // manager
    OwnPort own_port;                // dpdk with a manager: no appliance's port leads to all of them
    std::string region;              // that exists; empty: one is made, unless there is a grant
    uint64_t region_bytes = 0;       // of one that is made
    std::string purpose = "run";     // what the name of one that is made begins with
    uint32_t reconnect_seconds = 0;  // how long a lost connection is tried to be made again; 0: not at all
    bool may_reconnect = false;      // also with 0 seconds, because they may be changed later
    ReconnectOptions reconnect;      // what else there is to say about that; its limit is the seconds above
};

class Target {
  public:
    // Claims a port if the fabric takes one, and makes the region if it is to be made. Throws
    // std::runtime_error; nothing is left behind then.
    explicit Target(TargetOptions options);
    // Deletes the region if it was made here; says so on standard error if that fails.
    ~Target();
    Target(const Target&) = delete;
    Target& operator=(const Target&) = delete;

    // One more connection. This object outlives it. With a grant, `role` is what the grant says. Throws
    // std::runtime_error.
    std::unique_ptr<Fabric> connect_fabric(Role role);
    // The same, which reconnects by itself if the options say so.
    std::unique_ptr<Session> connect(Role role);

    bool region_was_made() const { return made_; }

  private:
    using Grant = std::vector<uint8_t>;
    using Interrupted = std::function<bool()>;

    bool has_manager() const { return !options_.manager.urls.empty(); }
    HomeFinder home_finder(Role role);
    Interrupted impatient() const;
    std::unique_ptr<Fabric> connect_to(const Home& home, const Interrupted& interrupted);
    std::unique_ptr<Fabric> with_way_back(std::unique_ptr<Fabric> fabric, WayBack way) const;

    Grant grant_for(const NodeClient& node, Role role) const;
    std::unique_ptr<Fabric> connect_with(const Grant& grant, const Interrupted& interrupted);
    std::unique_ptr<Fabric> connect_verbs(const Grant& grant, const Interrupted& interrupted);
    std::unique_ptr<Fabric> connect_again(Grant& grant, Role role);
    void restore_port();

    TargetOptions options_;
    std::optional<NodeClient> node_;
    std::optional<Manager> manager_;
    PortClaim claim_;                     // dpdk
    std::shared_ptr<DpdkHost> host_;      // dpdk
    std::vector<std::string> addresses_;  // verbs: where the appliance may be
    bool made_ = false;
};

}  // namespace lagan::client
