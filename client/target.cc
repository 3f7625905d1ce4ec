// SPDX-License-Identifier: BSD-3-Clause
#include "client/target.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <random>
#include <stdexcept>

#include "client/dpdk_fabric.h"
#include "client/grant_file.h"
#include "client/verbs_fabric.h"

namespace lagan::client {

// While it reconnects, an API that does not answer is asked again rather than waited for.
static constexpr std::chrono::seconds kPatience{1};
static constexpr std::chrono::seconds kFirstPatience{10};
// A home that does not answer is not waited for any longer: the region may have another one meanwhile.
static constexpr std::chrono::seconds kHomePatience{3};

Target::Target(TargetOptions options) : options_(std::move(options)) {
    if (has_manager()) {
        manager_.emplace(options_.manager);
        if (options_.fabric == FabricKind::dpdk)
            host_ = std::make_shared<DpdkHost>(host_options(options_.own_port));
        return;
    }
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

Target::Grant Target::grant_for(const NodeClient& node, Role role) const {
    return request_grant(node, options_.region, role);
}

std::unique_ptr<Fabric> Target::connect_fabric(Role role) {
    if (manager_) return home_finder(role).connect();
    return connect_with(node_ ? grant_for(*node_, role) : options_.grant, {});
}

std::unique_ptr<Session> Target::connect(Role role) {
    if (manager_) {
        const auto finder = std::make_shared<HomeFinder>(home_finder(role));
        auto fabric = finder->connect();
        return std::make_unique<Session>(
            with_way_back(std::move(fabric), {.restore = [] {},
                                              .connect = [finder] { return finder->connect_again(); },
                                              .moved = [finder] { return finder->moved(); }}));
    }
    const Grant grant = node_ ? grant_for(*node_, role) : options_.grant;
    auto fabric = connect_with(grant, {});
    return std::make_unique<Session>(with_way_back(
        std::move(fabric),
        {.restore = [this] { restore_port(); },
         .connect = [this, role, known = grant]() mutable { return connect_again(known, role); }}));
}

std::unique_ptr<Fabric> Target::with_way_back(std::unique_ptr<Fabric> fabric, WayBack way) const {
    if (options_.reconnect_seconds == 0 && !options_.may_reconnect) return fabric;
    ReconnectOptions options = options_.reconnect;
    options.limit = std::chrono::seconds(options_.reconnect_seconds);
    return std::make_unique<ReconnectingFabric>(std::move(fabric), std::move(way), options);
}

// Nobody is interrupted at the start, and everybody waits a little longer then.
HomeFinder Target::home_finder(Role role) {
    const auto connected = std::make_shared<bool>(false);
    return {[this, role, connected] {
                return manager_->home_of(options_.region, role, *connected ? kPatience : kFirstPatience);
            },
            [this, connected](const Home& home) {
                auto fabric = connect_to(home, *connected ? impatient() : Interrupted());
                *connected = true;
                return fabric;
            },
            options_.on_roll_back, options_.reconnect.tell};
}

Target::Interrupted Target::impatient() const {
    return [this, end = std::chrono::steady_clock::now() + kHomePatience] {
        const Interrupted& interrupted = options_.reconnect.interrupted;
        return std::chrono::steady_clock::now() > end || (interrupted && interrupted());
    };
}

std::unique_ptr<Fabric> Target::connect_to(const Home& home, const Interrupted& interrupted) {
    if (options_.fabric == FabricKind::verbs)
        return std::make_unique<VerbsFabric>(
            VerbsConnectOptions{.address = fmt::format("[{}]:{}", home.address, home.port),
                                .grant = home.grant,
                                .interrupted = interrupted});
    return std::make_unique<DpdkFabric>(host_, DpdkConnectOptions{.remote_address = home.address,
                                                                  .service_port = home.port,
                                                                  .grant = home.grant,
                                                                  .interrupted = interrupted});
}

std::unique_ptr<Fabric> Target::connect_with(const Grant& grant, const Interrupted& interrupted) {
    if (options_.fabric == FabricKind::verbs) return connect_verbs(grant, interrupted);
    const DpdkConnectOptions options = {.remote_address = claim_.port.remote_address,
                                        .service_port = claim_.port.service_port,
                                        .grant = grant,
                                        .interrupted = interrupted};
    return std::make_unique<DpdkFabric>(host_, options);
}

// The first address that leads there. A refusal is an answer: no other address is asked then.
std::unique_ptr<Fabric> Target::connect_verbs(const Grant& grant, const Interrupted& interrupted) {
    std::string why;
    for (const std::string& address : addresses_) {
        try {
            return std::make_unique<VerbsFabric>(
                VerbsConnectOptions{.address = address, .grant = grant, .interrupted = interrupted});
        } catch (const NoWay& error) {
            why += (why.empty() ? "" : "; ") + std::string(error.what());
        }
    }
    throw std::runtime_error(why);
}

// With the grant of the first time: that it is still good says that this is the same region of the same
// arena, which a name does not. It may have expired, though: then with a fresh one for the same.
std::unique_ptr<Fabric> Target::connect_again(Grant& grant, Role role) {
    try {
        return connect_with(grant, options_.reconnect.interrupted);
    } catch (const Refused&) {
        if (!node_) throw;
        Grant fresh = grant_for(NodeClient(options_.appliance, kPatience), role);
        if (!same_region(fresh, grant)) throw;
        grant = std::move(fresh);
    }
    return connect_with(grant, options_.reconnect.interrupted);
}

void Target::restore_port() {
    if (host_ == nullptr || !host_->port_lost()) return;
    claim_.renew();
    host_->reopen_port();
}

}  // namespace lagan::client
