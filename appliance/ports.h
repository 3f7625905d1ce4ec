// SPDX-License-Identifier: BSD-3-Clause
// The appliance's ethdev ports: set up, started, closed. Control thread.
#pragma once

#include <rte_ethdev.h>
#include <rte_mempool.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "appliance/devices.h"
#include "appliance/options.h"
#include "datapath/net/port_config.h"

namespace lagan::appliance {

// What can be put right or refused before DPDK takes the device over, where its errors say little: makes way
// for the unix socket, looks at the kernel's interface. Throws std::runtime_error.
void prepare_port(const PortOptions& port);

// The NUMA node that a port's device is on; -1 when it has none or none is known.
int port_numa_node(const PortOptions& port);

class Port {
  public:
    // Configures and starts the device that EAL made from `device`, with one pair of queues for each pool
    // (owned by the caller, and outliving the port). Throws std::runtime_error that names the port.
    Port(const PortOptions& options, const DeviceArguments& device, std::span<rte_mempool* const> rx_pools);
    ~Port();  // stops and closes the device: no lcore polls it any more
    Port(const Port&) = delete;
    Port& operator=(const Port&) = delete;

    // Lets a PCI device read `memory`, which consists of pages of `page_bytes`, where it is: zero-copy sends
    // need that. Nothing to do for others.
    void map_for_dma(std::span<std::byte> memory, size_t page_bytes);

    uint16_t id() const { return config_.port_id; }
    uint32_t queues() const { return queues_; }
    bool linear() const { return linear_; }  // cannot send chained mbufs
    bool link_up() const;
    // How often the link has gone down.
    uint32_t losses() const { return losses_.load(std::memory_order_relaxed); }
    // Whether the link goes down when this peer does: it is the process at the other end, and no host or
    // guest behind it.
    bool link_tells_of(const net::IpAddress& peer) const {
        return (options_.kind == PortKind::vhost || options_.kind == PortKind::memif) &&
               options_.peer_address == peer;
    }
    const PortOptions& options() const { return options_; }
    const net::PortConfig& config() const { return config_; }
    std::string path() const;      // what the port goes by: socket, interface, PCI address, device
    std::string describe() const;  // one line for people

  private:
    static int on_link_event(uint16_t port, rte_eth_event_type type, void* self, void* result);
    void configure();
    void start(std::span<rte_mempool* const> rx_pools);
    [[noreturn]] void fail(const char* action, int error) const;

    const PortOptions options_;
    net::PortConfig config_;
    uint32_t queues_;
    bool linear_ = false;
    std::atomic<uint32_t> losses_{0};  // atomic: the driver's thread counts
    std::string driver_;
};

}  // namespace lagan::appliance
