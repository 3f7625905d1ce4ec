// SPDX-License-Identifier: BSD-3-Clause
#include "client/connect.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/algorithm/hex.hpp>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <random>
#include <stdexcept>

#include "datapath/net/af_packet.h"

namespace lagan::client {

using nlohmann::json;

static constexpr uint32_t kMaxMtu = 9600;

PortClaim::~PortClaim() {
    if (lock_ >= 0) close(lock_);
}

// A status of 500 or more is an appliance's that starts, stops, or has no room now.
static NodeReply checked(NodeReply reply, const std::string& what) {
    const std::string text = fmt::format("{}: {}", what, reply.error());
    if (reply.status >= 500) throw std::runtime_error(text);
    if (!reply.ok()) throw Refused(text);
    return reply;
}

// A vhost socket takes one client; a lock beside it says whether it has one. lagand makes the file, so that
// everybody who may use the socket may take the lock; beside an older lagand's the first client does. -1:
// taken, or `why` says what is wrong with it.
static int lock_beside(const std::string& path, std::string& why) {
    const std::string lock = path + ".client";
    int descriptor = open(lock.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0 && errno == ENOENT)
        descriptor = open(lock.c_str(), O_RDONLY | O_CREAT | O_CLOEXEC, 0660);
    if (descriptor < 0) {
        why = fmt::format("cannot open {}: {}", lock, strerror(errno));
        return -1;
    }
    if (flock(descriptor, LOCK_EX | LOCK_NB) == 0) return descriptor;
    close(descriptor);
    return -1;
}

void PortClaim::renew() {
    struct stat held {
    }, there{};
    const std::string lock = port.path + ".client";
    if (fstat(lock_, &held) == 0 && stat(lock.c_str(), &there) == 0 && held.st_dev == there.st_dev &&
        held.st_ino == there.st_ino)
        return;
    // Not made here: whoever does so before the appliance has a lock that nobody else looks at.
    if (access(lock.c_str(), F_OK) != 0)
        throw std::runtime_error(fmt::format("the appliance's port {} is not there", port.name));
    std::string why;
    const int descriptor = lock_beside(port.path, why);
    if (descriptor < 0)
        throw std::runtime_error(
            why.empty() ? fmt::format("another client has taken the appliance's port {}", port.name) : why);
    close(std::exchange(lock_, descriptor));
}

// A vhost port without a peer_address (null) is for somebody else: a virtual machine, say.
static bool is_for_clients(const json& port) {
    const json& address = port.at("peer_address");
    return port.at("kind") == "vhost" && address.is_string() &&
           !address.get_ref<const std::string&>().empty();
}

static std::string without_prefix(const std::string& address) {
    return address.substr(0, address.find('/'));
}

// Locally administered. The device would choose one as well, but tell the user about it as an error.
static std::string any_mac() {
    std::random_device random;
    const uint32_t high = random(), low = random();
    return fmt::format("02:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", high >> 8 & 0xff, high & 0xff,
                       low >> 16 & 0xff, low >> 8 & 0xff, low & 0xff);
}

static LocalPort local_port(const json& port, uint16_t service_port) {
    LocalPort local;
    local.name = port.at("name").get<std::string>();
    local.remote_address = without_prefix(port.at("addresses").at(0).get<std::string>());
    const std::string prefix =
        port.at("addresses").at(0).get<std::string>().substr(local.remote_address.size());
    local.local_address = port.at("peer_address").get<std::string>() + prefix;
    local.service_port = service_port;
    local.mtu = port.at("mtu_bytes").get<uint16_t>();
    local.path = port.at("path").get<std::string>();
    local.device =
        fmt::format("net_virtio_user0,path={},queues=1,queue_size=256,mac={}", local.path, any_mac());
    return local;
}

PortClaim claim_port(const NodeClient& node, const std::string& name) {
    const json body = checked(node.get("/v1/node"), "asking the appliance for its ports").body;
    std::string seen;
    for (const json& port : body.at("ports")) {
        const std::string port_name = port.at("name");
        seen += (seen.empty() ? "" : ", ") + port_name + " (" + port.at("kind").get<std::string>() + ")";
        if (!is_for_clients(port)) continue;
        if (!name.empty() && port_name != name) continue;
        std::string why;
        const int lock = lock_beside(port.at("path"), why);
        if (!why.empty()) seen += " " + why;
        if (lock < 0) continue;
        return {local_port(port, body.at("rdma").at("service_port").get<uint16_t>()), lock};
    }
    throw std::runtime_error(
        fmt::format("no free port for a client on this machine: it takes a port of kind vhost with a "
                    "peer_address that no other client uses; the appliance has {}",
                    seen.empty() ? "none" : seen));
}

std::vector<std::string> node_addresses(const NodeClient& node) {
    const json body = checked(node.get("/v1/node"), "asking the appliance for its addresses").body;
    std::vector<std::string> addresses;
    for (const json& port : body.at("ports")) {
        for (const json& address : port.at("addresses"))
            addresses.push_back(fmt::format("[{}]:{}", without_prefix(address.get<std::string>()),
                                            body.at("rdma").at("service_port").get<uint16_t>()));
    }
    if (addresses.empty()) throw std::runtime_error("the appliance has no port with an address");
    return addresses;
}

std::vector<uint8_t> request_grant(const NodeClient& node, const std::string& region, Role role,
                                   uint64_t ttl_s) {
    const char* const names[] = {"none", "read", "write", "recover"};
    const NodeReply reply =
        checked(node.post("/v1/regions/" + region + "/grants",
                          {{"role", names[static_cast<unsigned>(role)]}, {"ttl_seconds", ttl_s}}),
                fmt::format("asking for a grant of region '{}'", region));
    std::vector<uint8_t> grant;
    boost::algorithm::unhex(reply.body.at("grant").get<std::string>(), std::back_inserter(grant));
    return grant;
}

void create_temporary_region(const NodeClient& node, const std::string& name, uint64_t bytes) {
    checked(node.post("/v1/regions", {{"name", name}, {"size", bytes}, {"temporary", true}}),
            fmt::format("creating region '{}'", name));
}

void delete_region(const NodeClient& node, const std::string& name) {
    NodeReply reply = node.del("/v1/regions/" + name);
    if (reply.status != 404) checked(std::move(reply), fmt::format("deleting region '{}'", name));
}

DpdkHostOptions host_options(const LocalPort& port) {
    return {.device = port.device, .local_address = port.local_address, .mtu = port.mtu};
}

DpdkHostOptions host_options(const OwnPort& port) {
    const auto found = net::find_interface(port.interface);
    if (!found)
        throw std::runtime_error(fmt::format("there is no interface {} here (see: ip link)", port.interface));
    if (!found->up)
        throw std::runtime_error(
            fmt::format("the interface {} is down; run: ip link set {} up", port.interface, port.interface));
    const auto mtu = static_cast<uint16_t>(std::min(found->mtu, kMaxMtu));
    return {.device = "net_af_packet0," + net::af_packet_arguments(port.interface, 1, mtu),
            .local_address = port.address,
            .mtu = mtu,
            .room_bytes = net::af_packet_slot_bytes(mtu)};
}

}  // namespace lagan::client
