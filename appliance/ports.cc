// SPDX-License-Identifier: BSD-3-Clause
#define ALLOW_EXPERIMENTAL_API  // rte_dev_dma_map(): no stable call does it
#include "appliance/ports.h"
#include "mgmt/http/unix_listener.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_memory.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <stdexcept>

#include "datapath/net/af_packet.h"

namespace lagan::appliance {

namespace {

constexpr uint16_t kDescriptors = 1024;
constexpr mode_t kSocketMode = 0660;

[[noreturn]] void fail_port(const PortOptions& port, const std::string& what) {
    throw std::runtime_error(fmt::format("port {} ({}): {}", port.name, to_string(port.kind), what));
}

void check_interface(const PortOptions& port) {
    const auto found = net::find_interface(port.interface);
    if (!found)
        fail_port(port, fmt::format("there is no interface \"{}\" here (see: ip link)", port.interface));
    if (!found->up)
        fail_port(port, fmt::format("the interface is down; run: ip link set {} up", port.interface));
    if (found->mtu < port.mtu_bytes) {
        fail_port(
            port,
            fmt::format(
                "the interface's MTU is {}, the port's {}; run: ip link set {} mtu {}, or lower port.mtu",
                found->mtu, port.mtu_bytes, port.interface, port.mtu_bytes));
    }
}

// Where the port's client has its lock (client/connect.cc): a client that may use the socket need not be able
// to make files beside it.
std::filesystem::path client_lock(const PortOptions& port) {
    return port.path.string() + ".client";
}

bool is_own_file(int fd) {
    struct stat info {};
    return fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_nlink == 1;
}

int with_socket_mode(int fd) {
    return fchmod(fd, kSocketMode) == 0 ? 0 : errno;  // whatever the umask
}

// One that is there stays: the client of a lagand before holds it, and comes back. Unless it is something
// else, or somebody else's. Returns an errno, or 0.
int make_client_lock(const PortOptions& port) {
    const std::filesystem::path path = client_lock(port);
    int fd = open(path.c_str(), O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    const bool keep = fd >= 0 && is_own_file(fd) && with_socket_mode(fd) == 0;
    if (fd >= 0) close(fd);
    if (keep) return 0;
    unlink(path.c_str());
    fd = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, kSocketMode);
    if (fd < 0) return errno;
    const int error = with_socket_mode(fd);
    close(fd);
    return error;
}

// Not while a client holds it.
void remove_client_lock(const PortOptions& port) {
    const std::filesystem::path path = client_lock(port);
    const int fd = open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) unlink(path.c_str());
    close(fd);
}

int read_node(const std::string& file) {
    int node = -1;
    std::ifstream(file) >> node;
    return node;
}

}  // namespace

void prepare_port(const PortOptions& port) {
    if (port.kind == PortKind::vhost || port.kind == PortKind::memif) http::make_way_for_socket(port.path);
    if (port.kind == PortKind::af_packet) check_interface(port);
}

int port_numa_node(const PortOptions& port) {
    if (port.kind == PortKind::pci) {
        return read_node("/sys/bus/pci/devices/" + device_arguments(port, 0, 1).name + "/numa_node");
    }
    if (port.kind == PortKind::af_packet)
        return read_node("/sys/class/net/" + port.interface + "/device/numa_node");
    return -1;
}

void Port::fail(const char* action, int error) const {
    fail_port(options_, fmt::format("{}: {} (driver {})", action, rte_strerror(-error), driver_));
}

Port::Port(const PortOptions& options, const DeviceArguments& device, std::span<rte_mempool* const> rx_pools)
    : options_(options), queues_(static_cast<uint32_t>(rx_pools.size())) {
    if (rte_eth_dev_get_port_by_name(device.name.c_str(), &config_.port_id) != 0) {
        // Its group's number is made of the process's and the interface's: nobody's fault, and gone the next
        // time.
        const char* const more = options.kind == PortKind::af_packet
                                     ? " (if they name PACKET_FANOUT: another program here happens to have "
                                       "the same group; start again)"
                                     : "";
        fail_port(options_,
                  fmt::format("DPDK has no device \"{}\"; its lines above say why{}", device.name, more));
    }
    config_.addresses = options.addresses;
    config_.mtu = static_cast<uint16_t>(options.mtu_bytes);
    configure();
    start(rx_pools);
}

void Port::configure() {
    rte_eth_dev_info info{};
    if (const int error = rte_eth_dev_info_get(id(), &info); error != 0) fail("cannot be asked about", error);
    driver_ = info.driver_name;
    if (queues_ > info.max_rx_queues || queues_ > info.max_tx_queues) {
        fail_port(
            options_,
            fmt::format(
                "the device has {} receive and {} transmit queues, {} of each are wanted; lower port.queues",
                info.max_rx_queues, info.max_tx_queues, queues_));
    }

    rte_eth_conf conf{};
    const bool chains = (info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS) != 0;
    // net_virtio_user stops sending after some eighty chains of external buffers.
    linear_ = !chains || driver_ == "net_virtio_user";
    if (chains) conf.txmode.offloads = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
    // net_af_packet reports 1500 whatever its ring takes; the interface's own MTU was looked at.
    if (options_.kind != PortKind::af_packet) {
        if (options_.mtu_bytes > info.max_mtu ||
            options_.mtu_bytes + RTE_ETHER_HDR_LEN > info.max_rx_pktlen) {
            fail_port(options_,
                      fmt::format("the device takes an MTU of {} at most; lower port.mtu",
                                  std::min<uint32_t>(info.max_mtu, info.max_rx_pktlen - RTE_ETHER_HDR_LEN)));
        }
        conf.rxmode.mtu = options_.mtu_bytes;
    }
    if (queues_ > 1) {
        // Both ends' UDP ports: a queue pair keeps to one of our queues.
        conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
        conf.rx_adv_conf.rss_conf.rss_hf = info.flow_type_rss_offloads & (RTE_ETH_RSS_IP | RTE_ETH_RSS_UDP);
        if (conf.rx_adv_conf.rss_conf.rss_hf == 0) conf.rxmode.mq_mode = RTE_ETH_MQ_RX_NONE;
    }
    const auto queues = static_cast<uint16_t>(queues_);
    if (const int error = rte_eth_dev_configure(id(), queues, queues, &conf); error != 0)
        fail("cannot be configured", error);
}

void Port::start(std::span<rte_mempool* const> rx_pools) {
    uint16_t rx_count = kDescriptors;
    uint16_t tx_count = kDescriptors;
    if (const int error = rte_eth_dev_adjust_nb_rx_tx_desc(id(), &rx_count, &tx_count); error != 0) {
        fail("refuses the number of descriptors", error);
    }
    const auto socket = static_cast<unsigned>(rte_eth_dev_socket_id(id()));
    const auto queues = static_cast<uint16_t>(queues_);
    for (uint16_t queue = 0; queue < queues; ++queue) {
        int error = rte_eth_rx_queue_setup(id(), queue, rx_count, socket, nullptr, rx_pools[queue]);
        if (error != 0) fail("cannot set up a receive queue", error);
        error = rte_eth_tx_queue_setup(id(), queue, tx_count, socket, nullptr);
        if (error != 0) fail("cannot set up a transmit queue", error);
    }
    if (const int error = rte_eth_dev_start(id()); error != 0) fail("does not start", error);
    // IPv6 neighbour solicitations are multicast. Devices that know neither setting deliver everything.
    if (rte_eth_allmulticast_enable(id()) != 0) rte_eth_promiscuous_enable(id());
    if (const int error = rte_eth_macaddr_get(id(), &config_.mac); error != 0)
        fail("has no MAC address", error);
    if (options_.kind == PortKind::vhost && chmod(options_.path.c_str(), kSocketMode) != 0)
        fail("chmod of its socket", -errno);
    if (options_.kind == PortKind::vhost) {
        if (const int error = make_client_lock(options_); error != 0)
            fail("cannot make its client's lock", -error);
    }
    // Last: nobody unregisters the callback of a port that could not be made.
    rte_eth_dev_callback_register(id(), RTE_ETH_EVENT_INTR_LSC, &Port::on_link_event, this);
}

Port::~Port() {
    rte_eth_dev_stop(id());
    rte_eth_dev_callback_unregister(id(), RTE_ETH_EVENT_INTR_LSC, &Port::on_link_event, this);
    rte_eth_dev_close(id());
    if (options_.kind == PortKind::vhost) remove_client_lock(options_);
}

void Port::map_for_dma(std::span<std::byte> memory, size_t page_bytes) {
    if (options_.kind != PortKind::pci) return;
    rte_eth_dev_info info{};
    int error = rte_eth_dev_info_get(id(), &info);
    if (error == 0 && rte_extmem_register(memory.data(), memory.size(), nullptr, 0, page_bytes) != 0 &&
        rte_errno != EEXIST) {
        error = -rte_errno;
    }
    if (error == 0) {
        error = rte_dev_dma_map(info.device, memory.data(), reinterpret_cast<uintptr_t>(memory.data()),
                                memory.size());
    }
    if (error != 0) fail("cannot be given the arena's memory for DMA", error);
}

int Port::on_link_event(uint16_t, rte_eth_event_type, void* self, void*) {
    auto& port = *static_cast<Port*>(self);
    if (!port.link_up()) port.losses_.fetch_add(1, std::memory_order_relaxed);
    return 0;
}

bool Port::link_up() const {
    rte_eth_link link{};
    return rte_eth_link_get_nowait(id(), &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
}

std::string Port::path() const {
    switch (options_.kind) {
        case PortKind::vhost:
        case PortKind::memif:
        case PortKind::virtio_user:
            return options_.path.string();
        case PortKind::af_packet:
        case PortKind::tap:
            return options_.interface;
        case PortKind::pci:
            return options_.pci;
        case PortKind::vdev:
            return options_.devargs;
    }
    return {};
}

std::string Port::describe() const {
    std::string addresses;
    for (const net::IpPrefix& prefix : config_.addresses) {
        addresses += fmt::format(" {}/{}", prefix.address.to_string(), prefix.length);
    }
    return fmt::format("port {}: {} {}, MTU {}, {} queue{}, addresses{}{}", options_.name,
                       to_string(options_.kind), path(), config_.mtu, queues_, queues_ == 1 ? "" : "s",
                       addresses, linear_ ? " (no chained mbufs: payloads are copied)" : "");
}

}  // namespace lagan::appliance
