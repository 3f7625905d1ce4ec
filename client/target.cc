// SPDX-License-Identifier: BSD-3-Clause
#include "client/target.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <random>
#include <stdexcept>

#include "client/dpdk_fabric.h"
#include "client/verbs_fabric.h"

namespace lagan::client {

Target::Target(TargetOptions options) : options_(std::move(options)) {
    if (options_.grant.empty()) node_.emplace(options_.appliance);
    if (options_.fabric == FabricKind::dpdk) {
        claim_ = claim_port(*node_);
        host_ = std::make_shared<DpdkHost>(host_options(claim_.port));
    } else {
        addresses_ = options_.address.empty() ? node_addresses(*node_) : std::vector{options_.address};
    }
    if (!node_ || !options_.region.empty()) return;
    // The process number is for people; the rest keeps apart what two machines or two boots would name alike.
    const std::string name = fmt::format("{}-{}-{:08x}", options_.purpose, getpid(), std::random_device{}());
    create_temporary_region(*node_, name, options_.region_bytes);
    options_.region = name;
    made_ = true;
}

Target::~Target() {
    host_.reset();
    if (!made_) return;
    try {
        delete_region(*node_, options_.region);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "lagan: region '%s' stays at the appliance: %s\n", options_.region.c_str(),
                     error.what());
    }
}

std::unique_ptr<Fabric> Target::connect_fabric(Role role) {
    const auto grant = node_ ? request_grant(*node_, options_.region, role) : options_.grant;
    if (options_.fabric == FabricKind::verbs) return connect_verbs(grant);
    const DpdkConnectOptions options = {.remote_address = claim_.port.remote_address,
                                        .service_port = claim_.port.service_port,
                                        .grant = grant};
    return std::make_unique<DpdkFabric>(host_, options);
}

// The first address that leads there. A refusal is an answer: no other address is asked then.
std::unique_ptr<Fabric> Target::connect_verbs(const std::vector<uint8_t>& grant) {
    std::string why;
    for (const std::string& address : addresses_) {
        try {
            return std::make_unique<VerbsFabric>(VerbsConnectOptions{.address = address, .grant = grant});
        } catch (const NoWay& error) {
            why += (why.empty() ? "" : "; ") + std::string(error.what());
        }
    }
    throw std::runtime_error(why);
}

}  // namespace lagan::client
