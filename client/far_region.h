// SPDX-License-Identifier: BSD-3-Clause
// A region made for one run of a program: created, connected to, and deleted again when the run is over.
#pragma once

#include <memory>
#include <string>

#include "client/connect.h"

namespace lagan::client {

class FarRegion {
  public:
    // Claims a port of the appliance at `socket`, creates a region of `bytes` named after this process.
    // Throws std::runtime_error; nothing is left behind then.
    FarRegion(const std::string& socket, uint64_t bytes);
    // Deletes the region. Sessions are gone by then.
    ~FarRegion();
    FarRegion(const FarRegion&) = delete;
    FarRegion& operator=(const FarRegion&) = delete;

    // Starts DPDK at first use; this object outlives the session.
    std::unique_ptr<Session> open(Role role = Role::write);

    const std::string& name() const { return name_; }

  private:
    NodeClient node_;
    PortClaim claim_;
    std::string name_;
    std::shared_ptr<DpdkHost> host_;
};

}  // namespace lagan::client
