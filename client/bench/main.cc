// SPDX-License-Identifier: BSD-3-Clause
// lagan-bench: load on an appliance.
#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <stdexcept>

#include "client/bench/load.h"
#include "client/bench/report.h"
#include "client/target.h"

namespace lagan::bench {

namespace {

std::atomic<bool> stop{false};
static_assert(std::atomic<bool>::is_always_lock_free);  // set by signal handlers

void catch_signals() {
    for (const int signal : {SIGINT, SIGTERM, SIGHUP})
        std::signal(signal, [](int) { stop = true; });
}

// The region in equal parts, the last one with what is left over.
Connection::Share share_of(uint32_t index, uint32_t count, uint64_t region_bytes) {
    const uint64_t each = region_bytes / count / kPageBytes * kPageBytes;
    return {.begin = index * each, .end = index + 1 == count ? region_bytes : (index + 1) * each};
}

Role role_for(const Options& options) {
    const bool changes = options.fill || options.mix.has(OpKind::write) || options.mix.has(OpKind::free);
    return changes ? Role::write : Role::read;
}

uint64_t reconnections(const Load::Connections& connections) {
    uint64_t sum = 0;
    for (const auto& connection : connections)
        sum += connection->reconnections();
    return sum;
}

// From the first connection on; they go before the target, which deletes the region.
int run_load(const Options& options, client::Target& target) {
    Figures figures;
    std::unique_ptr<Verifier> verifier;
    Load::Connections connections;
    uint64_t region_bytes = 0;
    for (uint32_t i = 0; i < options.qps; i++) {
        auto session = target.connect(role_for(options));
        if (i == 0) {
            region_bytes = session->size_bytes();
            check_against_region(options, region_bytes);
            if (options.verify)
                verifier = std::make_unique<Verifier>(region_bytes, options.cell_bytes(),
                                                      static_cast<uint32_t>(options.seed));
        }
        connections.push_back(std::make_unique<Connection>(
            std::move(session), options.depth, std::max(options.op_bytes, kPageBytes),
            share_of(i, options.qps, region_bytes), verifier.get(), figures));
    }
    Load load(options, region_bytes, connections, figures, stop);
    Progress progress(figures);
    if (options.fill) load.fill();
    if (!stop && load.failure().empty())
        load.run([&] {
            if (options.progress) progress.print();
        });

    const Result result = {.options = options,
                           .region_bytes = region_bytes,
                           .figures = figures,
                           .verifier = verifier.get(),
                           .interrupted = stop,
                           .reconnections = reconnections(connections),
                           .failure = load.failure()};
    print_table(result);
    if (options.json) fmt::print("{}\n", to_json(result));
    std::fflush(stdout);
    if (!result.failure.empty()) fmt::print(stderr, "lagan-bench: connection lost: {}\n", result.failure);
    for (const auto& connection : connections)
        connection->disconnect();
    if (verifier != nullptr && verifier->mismatches() != 0) return kVerificationFailed;
    const auto rolled_back = [](const auto& connection) { return connection->rolled_back(); };
    if (std::any_of(connections.begin(), connections.end(), rolled_back)) return kRolledBack;
    return result.failure.empty() ? kGood : kNoConnection;
}

int run(const Options& options) {
    catch_signals();
    try {
        client::TargetOptions target_options = options.target;
        target_options.reconnect = {
            .tell = [](const std::string& line) { fmt::print(stderr, "lagan-bench: {}\n", line); },
            .interrupted = [] { return stop.load(); }};
        client::Target target(target_options);
        return run_load(options, target);
    } catch (const std::invalid_argument& error) {
        fmt::print(stderr, "lagan-bench: {}\n", error.what());
        return kUsage;
    } catch (const std::exception& error) {
        fmt::print(stderr, "lagan-bench: {}\n", error.what());
        return kNoConnection;
    }
}

}  // namespace

}  // namespace lagan::bench

int main(int argc, char** argv) {
    int status = 0;
    const auto options = lagan::bench::parse_options(argc, argv, status);
    return options ? lagan::bench::run(*options) : status;
}
