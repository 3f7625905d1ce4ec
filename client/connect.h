// SPDX-License-Identifier: BSD-3-Clause
// From an appliance's node API to a session: region, grant, port, connection.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "client/dpdk_host.h"
#include "client/node_client.h"
#include "client/session.h"
#include "datapath/qp_attributes.h"

namespace lagan::client {

inline constexpr const char* kDefaultAppliance = "/run/lagan/lagand.sock";

// A port of the appliance that a client on this machine can reach, and how.
struct LocalPort {
    std::string name;
    std::string path;           // of its socket
    std::string device;         // EAL's --vdev
    std::string local_address;  // with prefix length
    std::string remote_address;
    uint16_t service_port = 0;
    uint16_t mtu = 0;
};

// Takes a port for this process until the claim is destroyed: vhost ports serve one client each. The lock is
// a file beside the socket, which the appliance leaves alone while a client has it.
class PortClaim {
  public:
    PortClaim() = default;
    PortClaim(LocalPort claimed, int lock_descriptor) : port(std::move(claimed)), lock_(lock_descriptor) {}
    PortClaim(PortClaim&& other) noexcept
        : port(std::move(other.port)), lock_(std::exchange(other.lock_, -1)) {}
    PortClaim& operator=(PortClaim&& other) noexcept {
        port = std::move(other.port);
        std::swap(lock_, other.lock_);
        return *this;
    }
    ~PortClaim();

    // When the appliance has been away: takes the port again if its lock is a new file. Throws
    // std::runtime_error when the lock is not there, or another client has it.
    void renew();

    LocalPort port;

  private:
    int lock_ = -1;
};

// The first free port that the appliance offers to local clients; `name` picks one. Throws
// std::runtime_error.
PortClaim claim_port(const NodeClient& node, const std::string& name = {});

// Where the appliance listens, "10.77.0.1:7471", port by port.
std::vector<std::string> node_addresses(const NodeClient& node);

// A grant for the region, from the node API. Throws Refused with the appliance's own words, or
// std::runtime_error when it did not answer.
std::vector<uint8_t> request_grant(const NodeClient& node, const std::string& region, Role role,
                                   uint64_t ttl_s = 3600);

// Made for one run: the appliance deletes it when its last connection has ended, if nobody did so before.
void create_temporary_region(const NodeClient& node, const std::string& name, uint64_t bytes);
// Also one that is not there any more.
void delete_region(const NodeClient& node, const std::string& name);

// A network interface of this machine for DPDK, beside the kernel's use of it, and an address there that
// nobody else has, nor the kernel.
struct OwnPort {
    std::string interface;
    std::string address;  // with prefix length
};

DpdkHostOptions host_options(const LocalPort& port);
// Throws std::runtime_error: there is no such interface, or it is down.
DpdkHostOptions host_options(const OwnPort& port);

}  // namespace lagan::client
