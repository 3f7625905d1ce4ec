// SPDX-License-Identifier: BSD-3-Clause
#include "client/dpdk_host.h"

#include <fmt/format.h>
#include <rte_cycles.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_log.h>
#include <rte_malloc.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "client/dpdk_fabric.h"
#include "datapath/poll_loop.h"
#include "datapath/roce/requester.h"

namespace lagan::client {

inline constexpr uint32_t kMaxQps = 256;
inline constexpr uint16_t kDescriptors = 256;
// How often the port is asked whether its other end is there: that costs a system call.
inline constexpr uint64_t kLookUs = 20'000;
// The driver deals with the loss in a thread of DPDK's. So long the device is left alone.
inline constexpr uint64_t kLeaveUs = 20'000;
inline constexpr const char* kPortGone = "the appliance's port has gone";

namespace {

// One lcore that floats over the CPUs this process may use: the thread also runs the caller's code, and
// pinning it would be the caller's decision.
std::string floating_lcore() {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    sched_getaffinity(0, sizeof allowed, &allowed);
    std::string cpus;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &allowed)) cpus += fmt::format("{}{}", cpus.empty() ? "" : ",", cpu);
    }
    return fmt::format("0@({})", cpus);
}

// virtio_user writes to its socket also when the appliance has gone. A handler and not SIG_IGN, which
// programs that this process starts would inherit.
void survive_broken_sockets() {
    struct sigaction now {};
    sigaction(SIGPIPE, nullptr, &now);
    if (now.sa_handler != SIG_DFL) return;
    now.sa_handler = [](int) {};
    now.sa_flags = SA_RESTART;
    sigaction(SIGPIPE, &now, nullptr);
}

void start_eal(const DpdkHostOptions& options) {
    survive_broken_sockets();
    static bool started = false;
    if (started)
        throw std::runtime_error("DPDK has been started in this process before: one DpdkHost at a time");
    std::vector<std::string> arguments = {"lagan",
                                          "--lcores",
                                          floating_lcore(),
                                          "--no-huge",
                                          "--no-shconf",
                                          "-m",
                                          fmt::format("{}", options.memory_mib),
                                          "--no-telemetry",
                                          "--iova-mode=va",
                                          "--file-prefix",
                                          fmt::format("lagan-client-{}", getpid()),
                                          options.pci ? "-a" : "--vdev",
                                          options.device};
    if (!options.pci) arguments.emplace_back("--no-pci");
    if (options.quiet) arguments.emplace_back("--log-level=*:4");
    std::vector<char*> argv;
    for (std::string& argument : arguments)
        argv.push_back(argument.data());
    if (rte_eal_init(static_cast<int>(argv.size()), argv.data()) < 0)
        throw std::runtime_error(
            fmt::format("DPDK does not start with device '{}': {}; is the appliance running, and is "
                        "nobody else connected to this port?",
                        options.device, rte_strerror(rte_errno)));
    started = true;
}

}  // namespace

// Completions and disconnections find their fabric through the queue pair's context.
struct DpdkHost::Sink final : roce::CompletionSink {
    void complete(Qp& qp, uint64_t cookie, roce::WorkStatus status) override {
        if (qp.context != nullptr) static_cast<DpdkFabric*>(qp.context)->completed(cookie, status);
    }
};

void DpdkHost::RcuDeleter::operator()(rte_rcu_qsbr* rcu) const {
    rte_free(rcu);
}

uint64_t DpdkHost::now_us() {
    return rte_rdtsc() / (rte_get_tsc_hz() / 1'000'000);
}

DpdkHost::DpdkHost(const DpdkHostOptions& options) : options_(options) {
    start_eal(options);
    rcu_.reset(static_cast<rte_rcu_qsbr*>(rte_zmalloc("rcu", rte_rcu_qsbr_get_memsize(1), 64)));
    if (rcu_ == nullptr || rte_rcu_qsbr_init(rcu_.get(), 1) != 0) throw std::bad_alloc();
    rkeys_ = std::make_unique<memory::RkeyTable>(16);
    qps_ = std::make_unique<QpTable>(kMaxQps, rcu_.get());
    engine_ =
        std::make_unique<Engine>(Shared{.qps = *qps_, .rkeys = *rkeys_, .rcu = rcu_.get()},
                                 EngineOptions{.socket = SOCKET_ID_ANY,
                                               .serve_capsules = false,
                                               .header_mbufs = 4095,
                                               .packet_mbufs = 4095,
                                               .rx_mbufs = 4095,
                                               .packet_room = std::max(options.mtu + 64U, options.room_bytes),
                                               .max_qps = kMaxQps,
                                               .control_ring = 256});
    sink_ = std::make_unique<Sink>();
    engine_->completions = sink_.get();
    start_port();
    // What the driver says about a peer that leaves and is not there is told by us.
    if (options.quiet) rte_log_set_level_pattern("*", RTE_LOG_ALERT);
    engine_->add_port(port_id_, 0, true);
    rte_rcu_qsbr_thread_register(rcu_.get(), 0);
    rte_rcu_qsbr_thread_online(rcu_.get(), 0);
    binding_ = std::make_unique<cm::EngineBinding>(*qps_, std::vector{engine_.get()});
    control_ = std::make_unique<cm::ControlPlane>(*binding_, std::vector{port_config()}, *binding_,
                                                  cm::CmOptions{.ack_timeout = 12});
    control_->connections().set_disconnected_handler(
        [this](uint32_t qpn, cm::DisconnectReason why) { disconnected(qpn, why); });
}

DpdkHost::~DpdkHost() {
    control_.reset();
    for (int i = 0; i < 8 && port_open_; i++)
        poll_once(*engine_);
    qps_->reap();
    close_port();
    engine_.reset();
    qps_.reset();
    rcu_.reset();
    rte_eal_cleanup();
}

void DpdkHost::start_port() {
    const auto fail = [&](const char* what, int error) {
        throw std::runtime_error(
            fmt::format("device '{}': {}: {}", options_.device, what, rte_strerror(-error)));
    };
    if (rte_eth_dev_count_avail() == 0)
        throw std::runtime_error(
            fmt::format("device '{}' gave no port; is the appliance running?", options_.device));
    port_id_ = static_cast<uint16_t>(rte_eth_find_next(0));
    mtu_ = options_.mtu;
    rte_eth_conf conf{};
    // A driver that reports less than its ring takes (net_af_packet) is not asked; the interface was.
    if (options_.room_bytes == 0) conf.rxmode.mtu = mtu_;
    if (int error = rte_eth_dev_configure(port_id_, 1, 1, &conf); error != 0)
        fail("cannot configure it", error);
    const int socket = rte_eth_dev_socket_id(port_id_);
    if (int error = rte_eth_rx_queue_setup(port_id_, 0, kDescriptors, static_cast<unsigned>(socket), nullptr,
                                           engine_->rx_pool());
        error != 0)
        fail("cannot set up receiving", error);
    if (int error = rte_eth_tx_queue_setup(port_id_, 0, kDescriptors, static_cast<unsigned>(socket), nullptr);
        error != 0)
        fail("cannot set up sending", error);
    if (int error = rte_eth_dev_start(port_id_); error != 0) fail("cannot start it", error);
    rte_eth_promiscuous_enable(port_id_);  // where it is not offered, the port hears what it should anyway
    link_was_up_ = false;
    port_open_ = true;
}

void DpdkHost::close_port() {
    if (!std::exchange(port_open_, false)) return;
    rte_eth_dev_stop(port_id_);
    rte_eth_dev_close(port_id_);
}

// A virtual device that has lost its other end finds no new one: it goes, and another comes in its place. It
// gets the same number, since that is the only port, and has the same MAC.
void DpdkHost::reopen_port() {
    if (!port_lost_) return;
    const size_t comma = options_.device.find(',');
    const std::string name = options_.device.substr(0, comma);
    const std::string arguments = comma == std::string::npos ? "" : options_.device.substr(comma + 1);
    if (now_us() - lost_at_us_ < kLeaveUs) throw std::runtime_error(kPortGone);
    for (EnginePort& port : engine_->ports) {
        rte_pktmbuf_free_bulk(port.tx, port.tx_count);
        port.tx_count = 0;
    }
    close_port();
    rte_eal_hotplug_remove("vdev", name.c_str());
    if (rte_eal_hotplug_add("vdev", name.c_str(), arguments.c_str()) != 0)
        throw std::runtime_error(kPortGone);
    const uint16_t before = port_id_;
    start_port();
    if (port_id_ != before)
        throw std::runtime_error(fmt::format("DPDK's port {} came back as {}", before, port_id_));
    port_lost_ = false;
}

// Only what was there can be lost: some devices never say that their link is up.
void DpdkHost::look_at_link(uint64_t now) {
    if (now < next_look_us_) return;
    next_look_us_ = now + kLookUs;
    rte_eth_link link{};
    const bool up = rte_eth_link_get_nowait(port_id_, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
    if (up || !link_was_up_) {
        link_was_up_ = up;
        return;
    }
    port_lost_ = true;
    lost_at_us_ = now;
    for (const auto& [number, fabric] : fabrics_)
        fabric->port_lost(kPortGone);
}

net::PortConfig DpdkHost::port_config() const {
    net::PortConfig config;
    config.port_id = port_id_;
    rte_eth_macaddr_get(port_id_, &config.mac);
    config.addresses.push_back(net::IpPrefix::parse(options_.local_address));
    config.mtu = mtu_;
    return config;
}

uint32_t DpdkHost::poll() {
    if (!port_open_) return 0;
    const uint64_t now = now_us();
    if (!port_lost_ && !options_.pci) look_at_link(now);
    const uint32_t work = poll_once(*engine_);
    return work + binding_->serve(*control_, now);
}

void DpdkHost::detach(const DpdkFabric& fabric) {
    std::erase_if(fabrics_, [&](const auto& entry) { return entry.second == &fabric; });
}

void DpdkHost::disconnected(uint32_t qpn, cm::DisconnectReason why) {
    for (const auto& [number, fabric] : fabrics_) {
        if (number == qpn) fabric->disconnected(cm::to_string(why));
    }
}

}  // namespace lagan::client
