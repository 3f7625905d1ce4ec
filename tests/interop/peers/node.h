// SPDX-License-Identifier: BSD-3-Clause
// One engine on one vhost-user port, with the connection manager beside it: lagand's datapath without its
// service. Single-threaded: whoever calls poll() is lcore and control thread at once.
#pragma once

#include <rte_rcu_qsbr.h>

#include <csignal>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "appliance/ports.h"
#include "datapath/cm/control_plane.h"
#include "datapath/cm/engine_binding.h"
#include "datapath/engine.h"
#include "datapath/idle.h"
#include "datapath/qp_table.h"
#include "tests/interop/peers/connection.h"
#include "tests/interop/peers/memory.h"

namespace lagan::interop {

// SIGTERM or SIGINT came while something was waited for.
struct Stopped : std::runtime_error {
    Stopped() : std::runtime_error("told to stop") {}
};

struct NodeOptions {
    std::filesystem::path socket;        // vhost-user, made here
    std::vector<std::string> addresses;  // "10.77.0.1/24"
    uint32_t mtu_bytes = 4200;
    uint64_t memory_bytes = 1 << 20;  // what is offered to the other side
    std::filesystem::path arena;      // where paged memory lies; empty: the memory is flat
};

class Node {
  public:
    // Throws std::runtime_error. One in a process.
    explicit Node(const NodeOptions& options);
    ~Node();
    Node(const Node&) = delete;
    Node& operator=(const Node&) = delete;

    // One turn of engine and connection manager; sleeps a little when there has been nothing to do for long.
    void poll();
    // Polls until `done` says so. Throws Stopped.
    void wait(const std::function<bool()>& done);

    // Accepts whoever connects to `service_port`; next_connection() gets the connections in their order.
    void listen(uint16_t service_port);
    // The next accepted connection that nobody has taken; null: none now. It lives as long as the node.
    Connection* next_connection();
    // Connects. While the other side does not listen yet, asks again for up to `patience_s`. Throws
    // std::runtime_error, or Stopped.
    Connection& connect(const std::string& remote_address, uint16_t service_port, uint32_t patience_s);
    // Tells the other side, and waits until it has answered or will not.
    void disconnect(Connection& connection);

    Engine& engine() { return *engine_; }
    const Offer& offer() const { return paged_ ? paged_->offer() : flat_->offer(); }
    // The memory offered, when it is flat.
    std::span<std::byte> flat_bytes() { return flat_->bytes(); }
    const net::PortConfig& port() const { return port_->config(); }

    static volatile std::sig_atomic_t stop;  // set by a signal handler

  private:
    struct RcuDeleter {
        void operator()(rte_rcu_qsbr* rcu) const;
    };
    struct Sink final : roce::CompletionSink {
        void complete(Qp& qp, uint64_t cookie, roce::WorkStatus status) override;
    };

    Connection& adopt(const QpAttributes& attributes);
    void ended(uint32_t qpn, cm::DisconnectReason why);

    std::unique_ptr<PagedMemory> paged_;
    std::unique_ptr<memory::RkeyTable> rkeys_;
    std::unique_ptr<FlatMemory> flat_;
    std::unique_ptr<rte_rcu_qsbr, RcuDeleter> rcu_;
    std::unique_ptr<QpTable> qps_;
    Sink sink_;
    std::unique_ptr<Engine> engine_;
    std::unique_ptr<appliance::Port> port_;
    std::unique_ptr<Idler> idler_;
    std::unique_ptr<cm::EngineBinding> binding_;
    std::unique_ptr<cm::ControlPlane> control_;
    std::deque<Connection> connections_;
    std::deque<Connection*> accepted_;
};

}  // namespace lagan::interop
