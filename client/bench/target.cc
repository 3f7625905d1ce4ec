// SPDX-License-Identifier: BSD-3-Clause
#include "client/bench/target.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <random>

namespace lagan::bench {

using namespace lagan::client;

Target::Target(const Options& options)
    : node_(options.appliance),
      claim_(claim_port(node_)),
      host_(std::make_shared<DpdkHost>(host_options(claim_.port))),
      region_(options.region) {
    if (!region_.empty()) return;
    const std::string name = fmt::format("bench-{}-{:08x}", getpid(), std::random_device{}());
    create_temporary_region(node_, name, options.region_bytes);
    region_ = name;
    made_ = true;
}

Target::~Target() {
    host_.reset();
    if (!made_) return;
    try {
        delete_region(node_, region_);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "lagan-bench: region '%s' stays at the appliance: %s\n", region_.c_str(),
                     error.what());
    }
}

std::unique_ptr<Session> Target::connect(Role role) {
    return open_session(host_, node_, claim_.port, region_, role);
}

}  // namespace lagan::bench
