// SPDX-License-Identifier: BSD-3-Clause
// `lagan run` over far memory in its own process: the pager and the preload library without an appliance.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "client/run/run_command.h"
#include "tests/support/memory_store.h"

int main(int argc, char** argv) {
    lagan::client::run::RunOptions options;
    lagan::test::MemoryStore::Options store_options{};
    uint64_t delay_us = 0;
    bool no_prefetch = false;
    CLI::App app("lagan run over memory of its own (a test)");
    app.add_option("--local-memory", options.local_memory_bytes)->transform(CLI::AsSizeValue(false));
    app.add_option("--region-size", options.region_bytes)->transform(CLI::AsSizeValue(false));
    app.add_option("--delay-us", delay_us);
    app.add_option("--fail-after", store_options.fail_after);
    app.add_option("--disconnect-after", store_options.disconnect_after);
    app.add_option("--stats-file", options.stats_file);
    app.add_option("--preload", options.preload_path);
    app.add_flag("--progress", options.progress);
    app.add_flag("--no-prefetch", no_prefetch);
    app.add_option("program", options.program)->required();
    app.positionals_at_end();
    CLI11_PARSE(app, argc, argv);
    options.prefetch = !no_prefetch;
    store_options.pages = options.region_bytes / 4096;
    store_options.delay = std::chrono::microseconds(delay_us);

    uint64_t absent_reads = 0, abandoned = 0;
    store_options.absent_reads = &absent_reads;
    store_options.abandoned = &abandoned;
    const int status = lagan::client::run::run(
        options, [&](const auto&) { return std::make_shared<lagan::test::MemoryStore>(store_options); });
    if (absent_reads != 0) {
        std::fprintf(stderr, "memory_run: %lu pages were read that were not there\n", absent_reads);
        return 99;
    }
    if (abandoned != 0) {
        std::fprintf(stderr, "memory_run: %lu operations were outstanding when their buffers went\n",
                     abandoned);
        return 98;
    }
    return status;
}
