// SPDX-License-Identifier: BSD-3-Clause
// A bad link between an appliance's vhost port and its client: forwards frames, and loses, repeats, swaps,
// delays and corrupts some of them by a seeded chance. SIGUSR1 cuts the link, SIGUSR2 mends it; SIGTERM ends
// the program, which then prints what it did.
#include <fmt/format.h>
#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <sched.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/system/programs/bad_link.h"

using namespace lagan::test;

namespace {

constexpr uint16_t kDescriptors = 256;
constexpr unsigned kMbufs = 8191;  // both rings, and what is on its way
constexpr uint32_t kIdlePolls = 1000;
constexpr unsigned kNapUs = 50;

std::atomic<bool> stop{false}, cut{false};
static_assert(std::atomic<bool>::is_always_lock_free);  // set by signal handlers

struct Options {
    std::string appliance, client;  // sockets
    uint16_t mtu = 4200;
    uint64_t seed = 1;
    Disturbance up, down;
};

void add_direction(CLI::App& app, const std::string& name, const std::string& where, Disturbance& d) {
    const auto chance = [&](const char* what, double& value, const char* help) {
        app.add_option("--" + name + "-" + what, value, fmt::format("{}, {}", help, where))
            ->check(CLI::Range(0.0, 1.0))
            ->capture_default_str();
    };
    chance("drop", d.drop, "Share of frames lost");
    chance("duplicate", d.duplicate, "Share that comes twice");
    chance("reorder", d.reorder, "Share that is held back, so that others overtake");
    chance("corrupt", d.corrupt, "Share with one bit flipped");
    app.add_option("--" + name + "-delay-us", d.delay_us, "Delay of every frame, " + where);
    app.add_option("--" + name + "-reorder-us", d.reorder_us, "What is held back is so much later, " + where)
        ->capture_default_str();
}

// One lcore that floats over the CPUs this process may use.
std::string floating_lcore() {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    sched_getaffinity(0, sizeof allowed, &allowed);
    std::string cpus;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed)) cpus += (cpus.empty() ? "" : ",") + std::to_string(cpu);
    return "0@(" + cpus + ")";
}

void start_eal(const Options& options) {
    static std::vector<std::string> arguments = {
        "bad_link",
        "--lcores",
        floating_lcore(),
        "--no-huge",
        "--no-shconf",
        "-m",
        "128",
        "--no-pci",
        "--no-telemetry",
        "--iova-mode=va",
        "--log-level=*:4",
        fmt::format("--file-prefix=bad-link-{}", getpid()),
        "--vdev",
        fmt::format("net_virtio_user0,path={},queues=1,queue_size={},mac=02:00:00:00:4c:4b",
                    options.appliance, kDescriptors),
        "--vdev",
        fmt::format("net_vhost0,iface={},queues=1,client=0", options.client)};
    std::vector<char*> argv;
    for (std::string& argument : arguments)
        argv.push_back(argument.data());
    if (rte_eal_init(static_cast<int>(argv.size()), argv.data()) < 0)
        throw std::runtime_error(fmt::format("DPDK does not start: {}", rte_strerror(rte_errno)));
}

uint16_t start_port(const char* name, uint16_t mtu, rte_mempool& pool) {
    uint16_t port = 0;
    if (rte_eth_dev_get_port_by_name(name, &port) != 0)
        throw std::runtime_error(fmt::format("{}: DPDK has no such device", name));
    rte_eth_conf conf{};
    conf.rxmode.mtu = mtu;
    int error = rte_eth_dev_configure(port, 1, 1, &conf);
    if (error == 0) error = rte_eth_rx_queue_setup(port, 0, kDescriptors, 0, nullptr, &pool);
    if (error == 0) error = rte_eth_tx_queue_setup(port, 0, kDescriptors, 0, nullptr);
    if (error == 0) error = rte_eth_dev_start(port);
    if (error != 0) throw std::runtime_error(fmt::format("{}: {}", name, rte_strerror(-error)));
    rte_eth_promiscuous_enable(port);
    return port;
}

nlohmann::json to_json(const Counts& c) {
    return {{"received", c.received},
            {"sent", c.sent},
            {"dropped", c.dropped},
            {"duplicated", c.duplicated},
            {"reordered", c.reordered},
            {"corrupted", c.corrupted},
            {"cut", c.cut},
            {"lost", c.lost}};
}

void run(const Options& options) {
    std::signal(SIGPIPE, SIG_IGN);  // virtio_user writes to its socket also when the appliance has gone
    start_eal(options);
    const auto room = static_cast<uint16_t>(RTE_PKTMBUF_HEADROOM + options.mtu + 64);
    rte_mempool* pool = rte_pktmbuf_pool_create("frames", kMbufs, 256, 0, room, SOCKET_ID_ANY);
    if (pool == nullptr) throw std::runtime_error("no memory for frames");
    const uint16_t appliance = start_port("net_virtio_user0", options.mtu, *pool);
    const uint16_t client = start_port("net_vhost0", options.mtu, *pool);
    {
        Direction up(client, appliance, *pool, options.up, options.seed);
        Direction down(appliance, client, *pool, options.down, options.seed + 1);
        fmt::print("bad_link: forwarding, seed {}\n", options.seed);
        std::fflush(stdout);
        const uint64_t tsc_per_us = rte_get_tsc_hz() / 1'000'000;
        for (uint32_t idle = 0; !stop;) {
            const uint64_t now_us = rte_rdtsc() / tsc_per_us;
            const bool worked = up.poll(now_us, cut) + down.poll(now_us, cut) != 0;
            idle = worked ? 0 : idle + 1;
            if (idle > kIdlePolls) {
                usleep(kNapUs);
            } else if (!worked) {
                sched_yield();  // who shares this CPU may be who is waited for
            }
        }
        fmt::print("{}\n",
                   nlohmann::json{{"up", to_json(up.counts())}, {"down", to_json(down.counts())}}.dump());
    }
    for (const uint16_t port : {client, appliance}) {
        rte_eth_dev_stop(port);
        rte_eth_dev_close(port);
    }
    rte_mempool_free(pool);
    rte_eal_cleanup();
}

void catch_signals() {
    for (const int signal : {SIGINT, SIGTERM, SIGHUP})
        std::signal(signal, [](int) { stop = true; });
    std::signal(SIGUSR1, [](int) { cut = true; });
    std::signal(SIGUSR2, [](int) { cut = false; });
}

}  // namespace

int main(int argc, char** argv) {
    Options options;
    CLI::App app("Forwards frames between an appliance's vhost socket and a client, badly", "bad_link");
    app.add_option("--appliance", options.appliance, "The appliance's vhost socket")->required();
    app.add_option("--client", options.client, "The vhost socket to make for a client")->required();
    app.add_option("--mtu", options.mtu, "IP MTU of both ports")->capture_default_str();
    app.add_option("--seed", options.seed, "Of every chance")->capture_default_str();
    add_direction(app, "up", "client to appliance", options.up);
    add_direction(app, "down", "appliance to client", options.down);
    CLI11_PARSE(app, argc, argv);
    catch_signals();
    try {
        run(options);
    } catch (const std::exception& error) {
        fmt::print(stderr, "bad_link: {}\n", error.what());
        return 1;
    }
    return 0;
}
