// SPDX-License-Identifier: BSD-3-Clause
// The region under load and the connections to it. A region made for the run is deleted with this object.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "client/bench/options.h"
#include "client/connect.h"

namespace lagan::bench {

class Target {
  public:
    // Claims a port of the appliance and makes the region if it is to be made. Throws std::runtime_error;
    // nothing is left behind then.
    explicit Target(const Options& options);
    ~Target();
    Target(const Target&) = delete;
    Target& operator=(const Target&) = delete;

    // One more connection. This object outlives it. Throws std::runtime_error.
    std::unique_ptr<client::Session> connect(Role role);

  private:
    client::NodeClient node_;
    client::PortClaim claim_;
    std::shared_ptr<client::DpdkHost> host_;
    std::string region_;
    bool made_ = false;
};

}  // namespace lagan::bench
