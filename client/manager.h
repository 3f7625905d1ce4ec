// SPDX-License-Identifier: BSD-3-Clause
// Asks lagan-mgmtd where a region lives.
#pragma once

#include <chrono>
#include <string>

#include "client/home.h"
#include "client/manager_endpoints.h"
#include "datapath/qp_attributes.h"

namespace lagan::client {

// Blocking. Single-threaded.
class Manager {
  public:
    // Throws as ManagerEndpoints does.
    explicit Manager(const ManagerOptions& options) : endpoints_(options) {}

    // The first manager that answers. Throws Refused with its own words, or std::runtime_error when the
    // region has no home at this moment, or no manager answers within `patience`, each.
    Home home_of(const std::string& region, Role role, std::chrono::milliseconds patience);

  private:
    ManagerEndpoints endpoints_;  // the one that answered last is the first
};

}  // namespace lagan::client
