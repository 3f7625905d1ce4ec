// SPDX-License-Identifier: BSD-3-Clause
// The threads of lagan-mgmtd, and what they share.
#pragma once

#include <memory>

#include "mgmt/cluster/options.h"

namespace lagan::cluster {

class Manager {
  public:
    // Opens the directory and serves the API. Throws std::runtime_error that says what is wrong.
    explicit Manager(const ManagerOptions& options);
    // Gives leadership back, and waits for what is under way.
    ~Manager();
    Manager(const Manager&) = delete;
    Manager& operator=(const Manager&) = delete;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace lagan::cluster
