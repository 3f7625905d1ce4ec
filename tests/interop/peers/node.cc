// SPDX-License-Identifier: BSD-3-Clause
#include "tests/interop/peers/node.h"

#include <fmt/format.h>
#include <rte_cycles.h>
#include <rte_errno.h>
#include <rte_malloc.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>

#include "appliance/devices.h"
#include "appliance/eal.h"
#include "appliance/sizing.h"
#include "datapath/poll_loop.h"

namespace lagan::interop {

namespace {

constexpr uint32_t kMaxQps = 64;
constexpr uint8_t kAckTimeout = 17;  // 537 ms: the guest is emulated
constexpr uint64_t kConnectPauseUs = 200'000;
constexpr uint8_t kMaxDepth = 128;  // READs and atomics outstanding: what Linux asks for at most

appliance::Options appliance_options(const NodeOptions& options) {
    appliance::PortOptions port;
    port.name = "guest";
    port.kind = appliance::PortKind::vhost;
    port.path = options.socket;
    for (const std::string& address : options.addresses)
        port.addresses.push_back(net::IpPrefix::parse(address));
    port.mtu_bytes = options.mtu_bytes;
    appliance::Options all;
    all.ports = {port};
    all.rdma.max_qps = kMaxQps;
    return all;
}

// One lcore that floats over the CPUs this process may use: the emulated guest needs them as well.
std::string floating_lcore() {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    sched_getaffinity(0, sizeof allowed, &allowed);
    std::string cpus;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &allowed)) cpus += fmt::format("{}{}", cpus.empty() ? "" : ",", cpu);
    }
    return fmt::format("--lcores=0@({})", cpus);
}

void start_dpdk(const appliance::DeviceArguments& device, uint64_t memory_bytes) {
    appliance::start_eal({floating_lcore(), "--no-huge", "--no-shconf", "--no-telemetry", "--no-pci",
                          "--iova-mode=va", "--log-level=*:warning", "-m",
                          fmt::format("{}", (memory_bytes >> 20) + 1),
                          fmt::format("--file-prefix=lagan-peer-{}", getpid()), device.option, device.value});
}

uint64_t now_us() {
    return rte_rdtsc() / (rte_get_tsc_hz() / 1'000'000);
}

}  // namespace

volatile std::sig_atomic_t Node::stop = 0;

void Node::RcuDeleter::operator()(rte_rcu_qsbr* rcu) const {
    rte_free(rcu);
}

void Node::Sink::complete(Qp& qp, uint64_t, roce::WorkStatus status) {
    if (qp.context != nullptr) static_cast<Connection*>(qp.context)->completed(status);
}

Node::Node(const NodeOptions& options) {
    const appliance::Options all = appliance_options(options);
    const appliance::PortOptions& port = all.ports.front();
    EngineOptions sizes = appliance::size_engine(all, options.memory_bytes / memory::kPageBytes, 1);
    sizes.serve_capsules = false;
    if (!options.arena.empty()) {
        paged_ = std::make_unique<PagedMemory>(options.arena, options.memory_bytes,
                                               appliance::slack_frames(sizes, 1));
    }
    appliance::prepare_port(port);
    const appliance::DeviceArguments device = appliance::device_arguments(port, 0, 1);
    start_dpdk(device, appliance::eal_memory_bytes(sizes, 1));

    rcu_.reset(static_cast<rte_rcu_qsbr*>(rte_zmalloc("rcu", rte_rcu_qsbr_get_memsize(1), 64)));
    if (rcu_ == nullptr || rte_rcu_qsbr_init(rcu_.get(), 1) != 0) throw std::bad_alloc();
    rkeys_ = std::make_unique<memory::RkeyTable>(16);
    if (paged_) {
        paged_->make_region(*rkeys_, rcu_.get());
    } else {
        flat_ = std::make_unique<FlatMemory>(*rkeys_, options.memory_bytes);
    }
    qps_ = std::make_unique<QpTable>(kMaxQps, rcu_.get());
    engine_ = std::make_unique<Engine>(Shared{.qps = *qps_,
                                              .rkeys = *rkeys_,
                                              .rcu = rcu_.get(),
                                              .frames = paged_ ? paged_->frames() : nullptr,
                                              .budget = paged_ ? paged_->budget() : nullptr},
                                       sizes);
    engine_->completions = &sink_;
    rte_mempool* pool = engine_->rx_pool();
    port_ = std::make_unique<appliance::Port>(port, device, std::span(&pool, 1));
    engine_->add_port(port_->id(), 0, port_->linear());
    rte_rcu_qsbr_thread_register(rcu_.get(), 0);
    rte_rcu_qsbr_thread_online(rcu_.get(), 0);
    idler_ = std::make_unique<Idler>(*engine_);

    binding_ = std::make_unique<cm::EngineBinding>(*qps_, std::vector{engine_.get()});
    control_ = std::make_unique<cm::ControlPlane>(*binding_, std::vector{port_->config()}, *binding_,
                                                  cm::CmOptions{.ack_timeout = kAckTimeout});
    control_->connections().set_disconnected_handler(
        [this](uint32_t qpn, cm::DisconnectReason why) { ended(qpn, why); });
}

Node::~Node() {
    control_.reset();
    for (int i = 0; i < 8; i++)  // the engine lets go of the queue pairs
        poll_once(*engine_);
    qps_->reap();
    port_.reset();
    engine_.reset();
    qps_.reset();
    rte_rcu_qsbr_thread_offline(rcu_.get(), 0);
    rte_rcu_qsbr_thread_unregister(rcu_.get(), 0);
    paged_.reset();
    rcu_.reset();
    appliance::stop_eal();
}

void Node::poll() {
    const uint32_t work = poll_once(*engine_);
    idler_->after_poll(work + binding_->serve(*control_, now_us()));
}

void Node::wait(const std::function<bool()>& done) {
    while (!done()) {
        if (stop != 0) throw Stopped();
        poll();
    }
}

void Node::listen(uint16_t service_port) {
    control_->connections().listen(service_port, [this](const cm::ConnectRequest&) {
        cm::AcceptDecision decision;
        decision.accepted = true;
        decision.region_id = offer().region_id;
        decision.data_rkey = offer().rkey;
        decision.role = Role::write;
        decision.max_responder_resources = kMaxDepth;
        decision.max_initiator_depth = kMaxDepth;
        return decision;
    });
    control_->connections().set_established_handler([this](const QpAttributes& attributes) {
        if (qps_->find(attributes.qpn) != nullptr) accepted_.push_back(&adopt(attributes));
    });
}

Connection* Node::next_connection() {
    if (accepted_.empty()) return nullptr;
    Connection* connection = accepted_.front();
    accepted_.pop_front();
    return connection;
}

Connection& Node::adopt(const QpAttributes& attributes) {
    Qp& qp = *qps_->find(attributes.qpn);
    Connection& connection = connections_.emplace_back(*engine_, qp);
    qp.context = &connection;
    return connection;
}

Connection& Node::connect(const std::string& remote_address, uint16_t service_port, uint32_t patience_s) {
    cm::ConnectParams params;
    params.path.port_id = port_->id();
    params.path.remote_ip = net::IpAddress::parse(remote_address);
    params.service_port = service_port;
    params.mtu_bytes = cm::largest_path_mtu(port_->config().mtu);
    params.ack_timeout = kAckTimeout;
    params.region_id = offer().region_id;
    params.role = Role::write;
    const uint64_t end_us = now_us() + patience_s * 1'000'000ULL;
    for (;;) {
        std::optional<cm::ConnectStatus> status;
        Connection* made = nullptr;
        control_->connect(params, [&](const cm::ConnectResult& result) {
            status = result.status;
            if (result.status == cm::ConnectStatus::established) made = &adopt(result.attributes);
        });
        wait([&] { return status.has_value(); });
        if (made != nullptr) return *made;
        if (now_us() > end_us)
            throw std::runtime_error(fmt::format("no connection to {} port {}: {}", remote_address,
                                                 service_port, cm::to_string(*status)));
        wait([again_us = now_us() + kConnectPauseUs] { return now_us() >= again_us; });
    }
}

void Node::disconnect(Connection& connection) {
    bool answered = false;
    if (!control_->connections().disconnect(connection.qpn(), [&] { answered = true; })) return;
    wait([&] { return answered; });
}

void Node::ended(uint32_t qpn, cm::DisconnectReason) {
    const auto found = std::find_if(connections_.begin(), connections_.end(),
                                    [=](const Connection& c) { return c.qpn() == qpn && !c.ended(); });
    if (found != connections_.end()) found->end();
}

}  // namespace lagan::interop
