// SPDX-License-Identifier: BSD-3-Clause
#include "client/bench/options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <numeric>
#include <stdexcept>

#include "client/bench/verifier.h"
#include "client/target_options.h"

namespace lagan::bench {

namespace {

constexpr uint32_t kMaxOpBytes = 1U << 20;
constexpr uint32_t kMaxDepth = 250;  // a connection's send queue holds 256; the rest is for capsules
constexpr uint32_t kMaxQps = 64;
constexpr double kMaxSeconds = 86400;
constexpr uint64_t kMaxBufferBytes = 4ULL << 30;

const char* const kFooter =
    R"(Latency is counted from when an operation was posted; with --rate, from when it was due, so that a stall
shows in every operation that it delayed.

Exit status: 0 good, 1 --verify found wrong data, 2 wrong usage, 3 no connection, or it was lost, 4 the region
was rolled back.

Examples:
  lagan-bench --mix read --depth 32                        4 KiB READs, 32 outstanding
  lagan-bench --mix read=70,write=25,free=5 --qps 4 --depth 16 --pattern zipf:0.9
  lagan-bench --mix read --rate 20000 --seconds 30         latency at a given load
  lagan-bench --mix read=50,write=45,free=5 --qps 4 --depth 32 --size 12K --align 512 --verify
  lagan-bench --fabric verbs --address 10.77.0.1 --grant bench.grant --depth 32 --mix read=70,write=30
  lagan-bench --fabric verbs --manager https://far:7480 --token-file token --region r --fill --verify)";

// What CLI11 cannot see in one option alone.
void check(const Options& options) {
    if (options.verify && options.cell_bytes() < Verifier::kMinCellBytes)
        throw std::invalid_argument(fmt::format(
            "--verify takes sizes and alignments that are multiples of {} bytes", Verifier::kMinCellBytes));
    if (options.verify && options.region_exists() && !options.fill)
        throw std::invalid_argument(
            "--verify has to know what is in the region: it overwrites all of it, say --fill");
    if (uint64_t{options.qps} * options.depth * std::max(options.op_bytes, kPageBytes) > kMaxBufferBytes)
        throw std::invalid_argument("--qps x --depth x --size is more than 4 GiB of buffers");
}

void add_target(CLI::App& app, Options& options) {
    client::add_target_options(app, options.target);
    auto* region = app.add_option("--region", options.target.region,
                                  "Use this region, which is there; writes change what is in it");
    app.add_option("--region-size", options.target.region_bytes,
                   "Size of the region that is made for the run and deleted afterwards")
        ->transform(CLI::AsSizeValue(false))
        ->default_str("64M")
        ->excludes(region)
        ->excludes("--grant");
    region->excludes("--grant");
    app.add_flag("--fill,!--no-fill", options.fill,
                 "Write all of the region before the run (default for a region made for the run)");
}

void add_load(CLI::App& app, Options& options, std::string& mix, std::string& pattern) {
    app.add_option("--mix", mix, "Operations and their weights: read, write, free")->capture_default_str();
    app.add_option("--size", options.op_bytes,
                   "Bytes of a read or write; frees take the whole pages in it, one at least")
        ->transform(CLI::AsSizeValue(false))
        ->check(CLI::Range(1U, kMaxOpBytes))
        ->capture_default_str();
    app.add_option("--align", options.align_bytes,
                   "Operations begin at multiples of this (default: the size, at most 4096)")
        ->transform(CLI::AsSizeValue(false))
        ->check(CLI::Range(1U, kMaxOpBytes));
    app.add_option("--pattern", pattern, "uniform, sequential, zipf or zipf:THETA (theta: 0.99)")
        ->capture_default_str();
    app.add_option("--qps", options.qps, "Connections")
        ->check(CLI::Range(1U, kMaxQps))
        ->capture_default_str();
    app.add_option("--depth", options.depth, "Outstanding operations of each connection")
        ->check(CLI::Range(1U, kMaxDepth))
        ->capture_default_str();
    app.add_option("--rate", options.rate,
                   "Operations a second of all connections together (default: as many as go)")
        ->check(CLI::Range(0.001, 1e9));
}

void add_run(CLI::App& app, Options& options) {
    app.add_option("--seconds", options.seconds, "How long to measure")
        ->check(CLI::Range(0.01, kMaxSeconds))
        ->capture_default_str();
    app.add_option("--ops", options.ops, "Measure this many operations, however long it takes")
        ->excludes("--seconds");
    app.add_option("--warmup", options.warmup_seconds, "Seconds of load before what is measured")
        ->check(CLI::Range(0.0, kMaxSeconds))
        ->capture_default_str();
    app.add_flag("--verify", options.verify, "Compare what is read with what must be there");
    app.add_option("--seed", options.seed, "Of offsets, kinds and data")->capture_default_str();
    app.add_flag("--json", options.json, "End with one JSON object");
    app.add_flag("--progress", options.progress, "A line every second on standard error");
}

}  // namespace

uint32_t Options::cell_bytes() const {
    return std::gcd(std::gcd(op_bytes, align_bytes), kPageBytes);
}

std::optional<Options> parse_options(int argc, const char* const* argv, int& status) {
    Options options;
    std::string mix = "read";
    std::string pattern = "uniform";
    CLI::App app("Loads an appliance with reads, writes and frees, and measures and checks what comes back",
                 "lagan-bench");
    app.footer(kFooter);
    add_target(app, options);
    add_load(app, options, mix, pattern);
    add_run(app, options);
    try {
        app.parse(argc, argv);
        options.mix = Mix::parse(mix);
        options.pattern = PatternChoice::parse(pattern);
        if (options.align_bytes == 0) options.align_bytes = std::min(options.op_bytes, kPageBytes);
        if (options.region_exists() && app.count("--fill") == 0) options.fill = false;
        check(options);
        return options;
    } catch (const CLI::ParseError& error) {
        status = app.exit(error) == 0 ? kGood : kUsage;
    } catch (const std::invalid_argument& error) {
        std::fprintf(stderr, "lagan-bench: %s\n", error.what());
        status = kUsage;
    }
    return std::nullopt;
}

void check_against_region(const Options& options, uint64_t region_bytes) {
    const uint64_t share = region_bytes / options.qps / kPageBytes * kPageBytes;
    if (share < std::max(options.op_bytes, options.free_bytes()))
        throw std::invalid_argument(
            fmt::format("a region of {} bytes is too small for {} connections with operations of {} bytes",
                        region_bytes, options.qps, options.op_bytes));
}

}  // namespace lagan::bench
