// SPDX-License-Identifier: BSD-3-Clause
// interop_peer: our engine as the other end of rping and perftest.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <nlohmann/json.hpp>

#include "datapath/counters.h"
#include "tests/interop/peers/node.h"
#include "tests/interop/peers/perftest.h"
#include "tests/interop/peers/rping.h"

using namespace lagan;
using namespace lagan::interop;

namespace {

struct Options {
    NodeOptions node;
    std::string remote;
    uint32_t count = 10;
    std::vector<uint32_t> sizes_bytes = {64};
    uint32_t clients = 1;
    uint64_t seed = 1;
};

void say(const std::string& line) {
    std::puts(line.c_str());
    std::fflush(stdout);
}

void run_rping_server(Node& node, const Options& options) {
    node.listen(kRpingPort);
    say("ready");
    for (uint32_t served = 0; served < options.clients; served++) {
        Connection* client = nullptr;
        node.wait([&] { return (client = node.next_connection()) != nullptr; });
        const uint32_t pings = serve_rping(node, *client);
        say(fmt::format("{} pings from {}, all right", pings, client->remote()));
    }
}

void run_rping_client(Node& node, const Options& options) {
    constexpr uint32_t kPatienceS = 60;
    say("ready");
    for (const uint32_t size : options.sizes_bytes) {
        Connection& server = node.connect(options.remote, kRpingPort, kPatienceS);
        run_rping(node, server, options.count, size, options.seed);
        node.disconnect(server);
        say(fmt::format("{} pings of {} bytes to {}, all right", options.count, size, server.remote()));
    }
}

// ib_atomic_bw adds one each time: this is how often.
uint64_t sum_of_words(std::span<const std::byte> bytes) {
    uint64_t sum = 0;
    for (size_t at = 0; at + sizeof sum <= bytes.size(); at += sizeof sum) {
        uint64_t word;
        std::memcpy(&word, bytes.data() + at, sizeof word);
        sum += word;
    }
    return sum;
}

void run_perftest_server(Node& node, const Options& options) {
    node.listen(kPerftestPort);
    say("ready");
    serve_perftest(node, options.clients);
    say(fmt::format("{} clients served", options.clients));
    if (options.node.arena.empty())
        say(fmt::format("words of memory add up to {}", sum_of_words(node.flat_bytes())));
}

// One line that a test reads: the counters that are not zero.
void show_counters(const Counters& counters) {
    nlohmann::json shown = {{"drops", nlohmann::json::object()}, {"refusals", nlohmann::json::object()}};
    unsigned count = 0;
    const CounterInfo* table = counter_table(count);
    for (unsigned i = 0; i < count; i++)
        shown[table[i].name] = counters.*table[i].value;
    for (unsigned i = 0; i < kDropReasonCount; i++) {
        if (counters.drops[i] != 0)
            shown["drops"][drop_reason_name(static_cast<DropReason>(i))] = counters.drops[i];
    }
    for (unsigned i = 0; i < kRefusalCount; i++) {
        if (counters.refusals[i] != 0)
            shown["refusals"][refusal_name(static_cast<Refusal>(i))] = counters.refusals[i];
    }
    say("counters " + shown.dump());
}

int run(const Options& options, void (*peer)(Node&, const Options&)) {
    Node node(options.node);
    int status = 0;
    try {
        peer(node, options);
    } catch (const Stopped&) {
        say("stopped");
    } catch (const std::exception& error) {
        say(fmt::format("failed: {}", error.what()));
        status = 1;
    }
    show_counters(node.engine().counters);
    return status;
}

void on_signal(int) {
    Node::stop = 1;
}

}  // namespace

int main(int argc, char** argv) {
    Options options;
    CLI::App app("The other end of rping and perftest, on Lagan's engine, for a guest on a vhost-user port");
    app.require_subcommand(1);
    app.add_option("--socket", options.node.socket, "vhost-user socket to make")->required();
    app.add_option("--address", options.node.addresses,
                   "own address with its prefix length; may be given again")
        ->required();
    app.add_option("--mtu", options.node.mtu_bytes, "of the port's IP packets");
    app.add_option("--memory", options.node.memory_bytes, "bytes that the other side may use");
    app.add_option("--seed", options.seed, "of what is written");
    auto* rping_server = app.add_subcommand("rping-server", "serve rping -c");
    rping_server->add_option("--clients", options.clients, "to serve, one after the other, before the end");
    auto* rping_client = app.add_subcommand("rping-client", "ping rping -s");
    rping_client->add_option("--remote", options.remote, "address of the server")->required();
    rping_client->add_option("--count", options.count, "of pings");
    rping_client->add_option("--size", options.sizes_bytes,
                             "bytes of a ping; a connection for each size given");
    auto* perftest = app.add_subcommand("perftest-server", "serve ib_read_bw -R and the like");
    perftest->add_option("--clients", options.clients, "to serve before the end");
    perftest->add_option("--paged", options.node.arena, "offer pages of an arena in this directory");
    CLI11_PARSE(app, argc, argv);

    struct sigaction action {};
    action.sa_handler = on_signal;
    for (const int number : {SIGTERM, SIGINT})
        sigaction(number, &action, nullptr);
    std::signal(SIGPIPE, SIG_IGN);
    try {
        if (rping_server->parsed()) return run(options, run_rping_server);
        return run(options, rping_client->parsed() ? run_rping_client : run_perftest_server);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "interop_peer: %s\n", error.what());
        return 1;
    }
}
