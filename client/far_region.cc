// SPDX-License-Identifier: BSD-3-Clause
#include "client/far_region.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <exception>

namespace lagan::client {

FarRegion::FarRegion(const std::string& socket, uint64_t bytes)
    : node_(socket),
      claim_(claim_port(node_)),
      name_(
          fmt::format("run-{}-{:x}", getpid(), std::chrono::steady_clock::now().time_since_epoch().count())) {
    create_region(node_, name_, bytes);
}

FarRegion::~FarRegion() {
    host_.reset();
    try {
        delete_region(node_, name_);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "lagan: region '%s' is left at the appliance: %s\n", name_.c_str(),
                     error.what());
    }
}

std::unique_ptr<Session> FarRegion::open(Role role) {
    if (host_ == nullptr) host_ = std::make_shared<DpdkHost>(host_options(claim_.port));
    return open_session(host_, node_, claim_.port, name_, role);
}

}  // namespace lagan::client
