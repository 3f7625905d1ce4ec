// SPDX-License-Identifier: BSD-3-Clause
// The region that a command works on, and the way there: through a DPDK port of this machine or through an
// RDMA device; with an appliance's node API or with a grant alone.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/connect.h"

namespace lagan::client {

enum class FabricKind : uint8_t { dpdk, verbs };

struct TargetOptions {
    FabricKind fabric = FabricKind::dpdk;
    std::string appliance = kDefaultAppliance;  // the node API's socket; not used when there is a grant
    std::string address;          // verbs: the appliance's, "10.77.0.1:7471"; empty: the node API says it
    std::vector<uint8_t> grant;   // verbs: says which region, and what is allowed there; empty: asked for
    std::string region;           // that exists; empty: one is made, unless there is a grant
    uint64_t region_bytes = 0;    // of one that is made
    std::string purpose = "run";  // what the name of one that is made begins with
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
    std::unique_ptr<Session> connect(Role role) { return std::make_unique<Session>(connect_fabric(role)); }

    bool region_was_made() const { return made_; }

  private:
    std::unique_ptr<Fabric> connect_verbs(const std::vector<uint8_t>& grant);

    TargetOptions options_;
    std::optional<NodeClient> node_;
    PortClaim claim_;                     // dpdk
    std::shared_ptr<DpdkHost> host_;      // dpdk
    std::vector<std::string> addresses_;  // verbs: where the appliance may be
    bool made_ = false;
};

}  // namespace lagan::client
