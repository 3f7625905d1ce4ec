// SPDX-License-Identifier: BSD-3-Clause
#include "client/bench/report.h"

#include <fmt/format.h>

#include <cstdio>
#include <nlohmann/json.hpp>

namespace lagan::bench {

namespace {

std::string size_text(uint64_t bytes) {
    return bytes >= 1U << 20 ? fmt::format("{} MiB", bytes >> 20) : fmt::format("{} KiB", bytes >> 10);
}

double us(uint64_t ns) {
    return static_cast<double>(ns) / 1e3;
}

double per_second(uint64_t count, const Figures& figures) {
    const double seconds = figures.seconds();
    return seconds > 0 ? static_cast<double>(count) / seconds : 0;
}

void print_row(const char* name, const LatencyHistogram& latency, uint64_t bytes, const Figures& figures) {
    fmt::print("{:<6}{:>12}{:>12.0f}{:>10.1f}{:>10.1f}{:>10.1f}{:>10.1f}{:>10.1f}{:>11.1f}\n", name,
               latency.count(), per_second(latency.count(), figures), per_second(bytes, figures) / 1e6,
               us(latency.quantile(0.5)), us(latency.quantile(0.9)), us(latency.quantile(0.99)),
               us(latency.quantile(0.999)), us(latency.max()));
}

nlohmann::ordered_json row(const LatencyHistogram& latency, uint64_t bytes, const Figures& figures) {
    return {{"ops", latency.count()},
            {"iops", per_second(latency.count(), figures)},
            {"mb_per_s", per_second(bytes, figures) / 1e6},
            {"mean_us", latency.mean() / 1e3},
            {"p50_us", us(latency.quantile(0.5))},
            {"p90_us", us(latency.quantile(0.9))},
            {"p99_us", us(latency.quantile(0.99))},
            {"p999_us", us(latency.quantile(0.999))},
            {"max_us", us(latency.max())}};
}

LatencyHistogram all_of(const Figures& figures) {
    LatencyHistogram all;
    for (const LatencyHistogram& kind : figures.latency)
        all.merge(kind);
    return all;
}

uint64_t bytes_of(const Figures& figures) {
    uint64_t sum = 0;
    for (const uint64_t bytes : figures.bytes)
        sum += bytes;
    return sum;
}

void print_verdict(const Verifier& verifier) {
    fmt::print("verified: {} cells of reads, {} mismatches\n", verifier.cells_checked(),
               verifier.mismatches());
    for (const std::string& report : verifier.reports())
        fmt::print("  {}\n", report);
    if (verifier.mismatches() > verifier.reports().size()) fmt::print("  ...\n");
}

}  // namespace

void print_table(const Result& result) {
    const Options& options = result.options;
    const Figures& figures = result.figures;
    fmt::print("{} connections x depth {}, {} bytes at multiples of {}, {} over {}, {:.2f} s{}\n",
               options.qps, options.depth, options.op_bytes, options.align_bytes, options.pattern.to_string(),
               size_text(result.region_bytes), figures.seconds(),
               options.rate == 0 ? "" : fmt::format(", {:g} operations/s wanted", options.rate));
    fmt::print("{:<6}{:>12}{:>12}{:>10}{:>10}{:>10}{:>10}{:>10}{:>11}\n", "", "operations", "per second",
               "MB/s", "p50 us", "p90 us", "p99 us", "p99.9 us", "max us");
    for (uint32_t kind = 0; kind < kOpKinds; kind++) {
        if (figures.latency[kind].count() != 0)
            print_row(kOpNames[kind], figures.latency[kind], figures.bytes[kind], figures);
    }
    print_row("all", all_of(figures), bytes_of(figures), figures);
    if (options.rate != 0 && figures.unsent != 0)
        fmt::print("too slow for that rate: {} operations were due and not sent\n", figures.unsent);
    if (result.verifier != nullptr) print_verdict(*result.verifier);
    if (result.reconnections != 0) fmt::print("reconnections: {}\n", result.reconnections);
    if (result.interrupted) fmt::print("interrupted: figures so far\n");
}

std::string to_json(const Result& result) {
    const Options& options = result.options;
    const Figures& figures = result.figures;
    nlohmann::ordered_json json = {{"seconds", figures.seconds()},
                                   {"mix", options.mix.to_string()},
                                   {"pattern", options.pattern.to_string()},
                                   {"size", options.op_bytes},
                                   {"align", options.align_bytes},
                                   {"depth", options.depth},
                                   {"qps", options.qps},
                                   {"rate", options.rate},
                                   {"seed", options.seed},
                                   {"region_bytes", result.region_bytes},
                                   {"all", row(all_of(figures), bytes_of(figures), figures)}};
    for (uint32_t kind = 0; kind < kOpKinds; kind++) {
        if (figures.latency[kind].count() != 0)
            json[kOpNames[kind]] = row(figures.latency[kind], figures.bytes[kind], figures);
    }
    if (options.rate != 0) json["unsent"] = figures.unsent;
    if (result.verifier != nullptr) {
        json["cells_verified"] = result.verifier->cells_checked();
        json["mismatches"] = result.verifier->mismatches();
    }
    json["reconnections"] = result.reconnections;
    json["interrupted"] = result.interrupted;
    if (!result.failure.empty()) json["failure"] = result.failure;
    return json.dump();
}

void Progress::print() {
    const uint64_t operations = figures_.operations();
    fmt::print(stderr, "lagan-bench: {:>4} s  {} operations/s\n", ++second_, operations - before_);
    before_ = operations;
}

}  // namespace lagan::bench
