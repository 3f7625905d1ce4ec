// SPDX-License-Identifier: BSD-3-Clause
// What all DPDK connections of a client process share: DPDK's environment, one port, one engine and the
// connection manager, driven by one thread that calls poll().
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "datapath/cm/control_plane.h"
#include "datapath/cm/engine_binding.h"
#include "datapath/engine.h"
#include "datapath/qp_table.h"

struct rte_rcu_qsbr;

namespace lagan::client {

struct DpdkHostOptions {
    std::string device;  // EAL's --vdev (or, with pci set, -a): "net_virtio_user0,path=..."
    bool pci = false;
    std::string local_address;  // "10.77.0.2/24"
    uint16_t mtu = 4200;
    uint32_t room_bytes = 0;    // of an mbuf, if the device wants more than the MTU
    uint32_t memory_mib = 160;  // for mbufs and rings
    bool quiet = true;          // DPDK's own messages only from warnings up
};

class DpdkFabric;

class DpdkHost {
  public:
    // One at a time in a process: starts DPDK's environment at first use. Throws std::runtime_error that says
    // what to do.
    explicit DpdkHost(const DpdkHostOptions& options);
    ~DpdkHost();
    DpdkHost(const DpdkHost&) = delete;
    DpdkHost& operator=(const DpdkHost&) = delete;

    // One turn of engine and connection manager. Never blocks; returns the work done. Nothing happens while
    // the port is not there.
    uint32_t poll();

    // The port's other end has gone: lagand has closed its socket, or has died. All fabrics have been told.
    bool port_lost() const { return port_lost_; }
    // Makes the port anew, when it has been lost: connections that have not been ended are still known, and
    // can be ended over it. Throws std::runtime_error while there is nobody at its other end; to be called
    // again then.
    void reopen_port();

    Engine& engine() { return *engine_; }
    cm::ControlPlane& control() { return *control_; }
    QpTable& qps() { return *qps_; }
    uint16_t port_id() const { return port_id_; }
    uint16_t mtu() const { return mtu_; }

    // A fabric hears here of what becomes of its connection.
    void attach(uint32_t qpn, DpdkFabric& fabric) { fabrics_.emplace_back(qpn, &fabric); }
    void detach(const DpdkFabric& fabric);

    // Microseconds on a steady clock, as timers here count.
    static uint64_t now_us();

  private:
    struct Sink;
    struct RcuDeleter {
        void operator()(rte_rcu_qsbr* rcu) const;
    };

    void start_port();
    void close_port();
    void look_at_link(uint64_t now);
    net::PortConfig port_config() const;
    void disconnected(uint32_t qpn, cm::DisconnectReason why);

    const DpdkHostOptions options_;
    uint16_t port_id_ = 0;
    uint16_t mtu_ = 0;
    bool port_open_ = false;
    bool port_lost_ = false;
    bool link_was_up_ = false;
    uint64_t next_look_us_ = 0, lost_at_us_ = 0;
    std::unique_ptr<rte_rcu_qsbr, RcuDeleter> rcu_;
    std::unique_ptr<memory::RkeyTable> rkeys_;
    std::unique_ptr<QpTable> qps_;
    std::unique_ptr<Engine> engine_;
    std::unique_ptr<Sink> sink_;
    std::unique_ptr<cm::EngineBinding> binding_;
    std::unique_ptr<cm::ControlPlane> control_;
    std::vector<std::pair<uint32_t, DpdkFabric*>> fabrics_;
};

}  // namespace lagan::client
