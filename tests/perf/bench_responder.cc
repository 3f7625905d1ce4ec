// SPDX-License-Identifier: BSD-3-Clause
// What a request costs the responder: one engine, one lcore, an in-memory port, random pages over a pool much
// larger than the cache. Timed are poll_once() and the freeing of the replies, which on other ports the NIC's
// driver does; building the requests is not. Operations take turns, so that ratios come from the same moments
// of the machine.
#include <fmt/format.h>
#include <rte_cycles.h>
#include <sys/mount.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "datapath/roce/crc32.h"
#include "datapath/roce/icrc.h"
#include "tests/perf/allocation_count.h"
#include "tests/perf/responder_rig.h"

namespace lagan::perf {

namespace {

enum Op : uint32_t { kRead64, kRead4096, kRead4096Computed, kWrite4096, kFree, kOpCount };
constexpr std::array<const char*, kOpCount> kNames = {"read_64", "read_4096", "read_4096_crc_computed",
                                                      "write_4096", "free"};
constexpr uint32_t kBatchesPerTurn = 4;
constexpr uint32_t kCapsulesPerQp = 2;

// Pages in random order, each once before any comes again: the cache holds nothing of a page when its turn
// comes.
class PageOrder {
  public:
    explicit PageOrder(uint64_t pages) : order_(pages) {
        std::iota(order_.begin(), order_.end(), 0U);
        std::shuffle(order_.begin(), order_.end(), std::mt19937_64(7));
    }
    uint32_t next() {
        next_ = next_ == order_.size() ? 0 : next_;
        return order_[next_++];
    }

  private:
    std::vector<uint32_t> order_;
    size_t next_ = 0;
};

// What a responder that keeps no CRCs does for every reply: the CRC over the payload, at the moment the reply
// is built or, as here, before it is freed.
void compute_payload_crc(rte_mbuf* reply, void* sum) {
    for (const rte_mbuf* segment = reply; segment != nullptr; segment = segment->next)
        if (RTE_MBUF_HAS_EXTBUF(segment))
            *static_cast<uint32_t*>(sum) ^=
                roce::crc32_raw(0, rte_pktmbuf_mtod(segment, const uint8_t*), segment->data_len);
}

// Replies that are right, by their own bytes.
struct Verdict {
    uint32_t good = 0;
    uint64_t payload_bytes = 0;
    std::vector<uint8_t> linear;
};
void verify_reply(rte_mbuf* reply, void* context) {
    auto& verdict = *static_cast<Verdict*>(context);
    verdict.linear.resize(reply->pkt_len);
    const auto* bytes =
        static_cast<const uint8_t*>(rte_pktmbuf_read(reply, 0, reply->pkt_len, verdict.linear.data()));
    roce::Packet packet;
    if (roce::decode(bytes, reply->pkt_len, packet).result != roce::DecodeResult::roce ||
        !roce::icrc_ok(packet))
        return;
    if (packet.info->aeth != roce::kNoHeader &&
        packet.extension<roce::Aeth>(packet.info->aeth).syndrome != 0x1f)
        return;
    verdict.good++;
    verdict.payload_bytes += packet.payload_bytes;
}

class Bench {
  public:
    explicit Bench(const RigOptions& options) : rig_(options), qps_(options.qps), order_(rig_.page_count()) {
        for (uint64_t page = 0; page < rig_.page_count();) {
            for (uint32_t i = 0; i < Rig::kBatch && page < rig_.page_count(); i++)
                rig_.write_page(page++);
            rig_.serve();
        }
        if (rig_.region().present != rig_.page_count()) throw std::runtime_error("not every page was stored");
    }

    Rig& rig() { return rig_; }
    uint64_t allocations() const { return allocations_; }

    // One batch; nanoseconds per request (per page for FREE).
    double run(Op op) {
        const uint32_t count = prepare(op);
        const double per_request = measure(op, count);
        if (op == kFree) refill();
        return per_request;
    }

    // Every kind of reply once, checked against its bytes.
    void verify() {
        for (const uint32_t bytes : {64U, 4096U}) {
            for (uint32_t i = 0; i < Rig::kBatch; i++)
                rig_.read(uint64_t{order_.next()} * memory::kPageBytes, bytes);
            Verdict verdict;
            rig_.serve(verify_reply, &verdict);
            if (verdict.good != Rig::kBatch || verdict.payload_bytes != uint64_t{Rig::kBatch} * bytes)
                throw std::runtime_error(fmt::format("{} of {} READ replies of {} bytes are right",
                                                     verdict.good, Rig::kBatch, bytes));
        }
    }

  private:
    uint32_t prepare(Op op) {
        switch (op) {
            case kRead64:
                for (uint32_t i = 0; i < Rig::kBatch; i++)
                    rig_.read(uint64_t{order_.next()} * memory::kPageBytes + i * 64 % memory::kPageBytes, 64);
                return Rig::kBatch;
            case kRead4096:
            case kRead4096Computed:
                for (uint32_t i = 0; i < Rig::kBatch; i++)
                    rig_.read(uint64_t{order_.next()} * memory::kPageBytes, memory::kPageBytes);
                return Rig::kBatch;
            case kWrite4096:
                for (uint32_t i = 0; i < Rig::kBatch; i++)
                    rig_.write_page(order_.next());
                return Rig::kBatch;
            default:
                break;
        }
        freed_.clear();
        for (uint32_t i = 0; i < kCapsulesPerQp * qps_; i++) {
            const size_t first = freed_.size();
            for (uint32_t page = 0; page < Rig::kPagesPerFree; page++)
                freed_.push_back(order_.next());
            rig_.free_pages(freed_.data() + first, Rig::kPagesPerFree);
        }
        return static_cast<uint32_t>(freed_.size());
    }

    // A function of its own, so that callgrind can be told to look here only
    // (--toggle-collect='*Bench::measure*').
    [[gnu::noinline]] double measure(Op op, uint32_t count) {
        const uint64_t heap_before = heap_allocations(), dpdk_before = dpdk_objects();
        const uint64_t tx_before = rig_.engine().counters.tx_bytes,
                       stored_before = rig_.engine().counters.pages_stored;
        const uint64_t present_before = rig_.region().present;
        uint32_t crc = 0;
        const uint64_t cycles =
            op == kRead4096Computed ? rig_.serve(compute_payload_crc, &crc) : rig_.serve();
        allocations_ += heap_allocations() - heap_before;
        if (dpdk_objects() != dpdk_before) allocations_++;
        sink_ = crc;

        const Counters& counters = rig_.engine().counters;
        const uint64_t sent = counters.tx_bytes - tx_before;
        const bool done = op == kFree ? present_before - rig_.region().present == count
                          : op == kWrite4096
                              ? counters.pages_stored - stored_before == count
                              : sent >= uint64_t{count} * (op == kRead64 ? 64 : memory::kPageBytes);
        if (!done)
            throw std::runtime_error(fmt::format("{}: the engine did not answer everything", kNames[op]));
        return static_cast<double>(cycles) * 1e9 / static_cast<double>(rte_get_tsc_hz()) / count;
    }

    void refill() {
        rig_.acknowledge_messages();
        for (size_t at = 0; at < freed_.size();) {
            for (uint32_t i = 0; i < Rig::kBatch && at < freed_.size(); i++)
                rig_.write_page(freed_[at++]);
            rig_.serve();
        }
    }

    Rig rig_;
    uint32_t qps_;
    PageOrder order_;
    std::vector<uint32_t> freed_;
    uint64_t allocations_ = 0;
    volatile uint32_t sink_ = 0;
};

// Huge pages for as long as the benchmark runs: reserves them and mounts a hugetlbfs of its own. Root only.
class HugePages {
  public:
    explicit HugePages(uint64_t bytes) : directory_(fmt::format("/tmp/lagan-bench-huge-{}", getpid())) {
        before_ = number();
        set(before_ + (bytes >> 21));
        std::filesystem::create_directory(directory_);
        if (number() < before_ + (bytes >> 21) ||
            mount("none", directory_.c_str(), "hugetlbfs", 0, "pagesize=2M") != 0) {
            undo();
            throw std::runtime_error("no huge pages: run as root, with enough free memory in one piece");
        }
    }
    ~HugePages() {
        umount2(directory_.c_str(), MNT_DETACH);
        undo();
    }
    std::filesystem::path directory() const { return directory_; }

  private:
    static constexpr const char* kNumberFile = "/proc/sys/vm/nr_hugepages";
    static uint64_t number() {
        uint64_t value = 0;
        std::ifstream(kNumberFile) >> value;
        return value;
    }
    static void set(uint64_t value) { std::ofstream(kNumberFile) << value; }
    void undo() {
        set(before_);
        std::error_code ignored;
        std::filesystem::remove(directory_, ignored);
    }

    std::filesystem::path directory_;
    uint64_t before_ = 0;
};

struct Options {
    uint64_t pool_mib = 2048;
    uint32_t qps = 4;
    uint32_t rounds = 40;
    uint32_t iterations = 64;
    std::string op;
    bool huge_pages = false;
    bool json = false;
};

using Samples = std::array<std::vector<double>, kOpCount>;

double minimum(const std::vector<double>& samples) {
    return *std::min_element(samples.begin(), samples.end());
}
double median(std::vector<double> samples) {
    std::nth_element(samples.begin(), samples.begin() + static_cast<long>(samples.size() / 2), samples.end());
    return samples[samples.size() / 2];
}

void report(const Options& options, Bench& bench, const Samples& samples) {
    nlohmann::ordered_json json;
    std::array<double, kOpCount> best{};
    fmt::print("{:<26}{:>10}{:>10}\n", "ns per request", "minimum", "median");
    for (uint32_t op = 0; op < kOpCount; op++) {
        if (samples[op].empty()) continue;
        best[op] = minimum(samples[op]);
        fmt::print("{:<26}{:>10.1f}{:>10.1f}\n", kNames[op], best[op], median(samples[op]));
        json[fmt::format("ns_{}", kNames[op])] = best[op];
        json[fmt::format("ns_{}_median", kNames[op])] = median(samples[op]);
    }
    if (options.op.empty()) {
        json["read_4096_vs_64"] = best[kRead4096] / best[kRead64];
        json["crc_computed_vs_stored"] = best[kRead4096Computed] / best[kRead4096];
        fmt::print("4 KiB READ : 64 B READ        {:.2f}\nCRC computed : CRC stored     {:.2f}\n",
                   best[kRead4096] / best[kRead64], best[kRead4096Computed] / best[kRead4096]);
    }
    json["allocations"] = bench.allocations();
    json["pool_bytes"] = bench.rig().pool_bytes();
    json["huge_pages"] = bench.rig().arena_on_huge_pages();
    json["qps"] = options.qps;
    json["crc_copy"] = roce::crc32_implementation();
    fmt::print("allocations while timed       {}\npool {} MiB in {} pages, {} connections, copies by {}\n",
               bench.allocations(), options.pool_mib, bench.rig().arena_on_huge_pages() ? "huge" : "4 KiB",
               options.qps, roce::crc32_implementation());
    if (options.json) fmt::print("{}\n", json.dump());
}

int run(const Options& options) {
    const uint64_t pool_bytes = options.pool_mib << 20;
    std::optional<HugePages> huge_pages;
    RigOptions rig = {.pool_bytes = pool_bytes, .qps = options.qps, .huge_pages = options.huge_pages};
    rig.arena = fmt::format("/dev/shm/lagan-bench-{}", getpid());
    if (options.huge_pages) {
        // Frames, metadata, page table, and EAL's memory.
        huge_pages.emplace(pool_bytes + pool_bytes / 32 + (1ULL << 30));
        rig.arena = huge_pages->directory() / "arena";
    }
    Bench bench(rig);
    bench.verify();
    Samples samples;
    if (!options.op.empty()) {
        const auto name = std::find(kNames.begin(), kNames.end(), options.op);
        const auto op = static_cast<Op>(name - kNames.begin());
        for (uint32_t i = 0; i < options.iterations; i++)
            samples[op].push_back(bench.run(op));
    } else {
        for (uint32_t op = 0; op < kOpCount; op++)
            bench.run(static_cast<Op>(op));  // warms up
        for (uint32_t round = 0; round < options.rounds; round++)
            for (uint32_t op = 0; op < kOpCount; op++)
                for (uint32_t i = 0; i < kBatchesPerTurn; i++)
                    samples[op].push_back(bench.run(static_cast<Op>(op)));
    }
    report(options, bench, samples);
    return bench.allocations() == 0 ? 0 : 1;
}

}  // namespace

}  // namespace lagan::perf

int main(int argc, char** argv) {
    lagan::perf::Options options;
    CLI::App app("What a request costs the responder, in nanoseconds");
    app.add_option("--pool-mib", options.pool_mib, "memory for pages")
        ->check(CLI::Range(32, 1 << 20))
        ->capture_default_str();
    app.add_option("--qps", options.qps, "connections that the requests come from")
        ->check(CLI::Range(2, 200))
        ->capture_default_str();
    app.add_option("--rounds", options.rounds, "turns of each operation")
        ->check(CLI::Range(1, 100000))
        ->capture_default_str();
    app.add_option("--op", options.op, "only this operation")
        ->check(
            CLI::IsMember(std::vector<std::string>(lagan::perf::kNames.begin(), lagan::perf::kNames.end())));
    app.add_option("--iterations", options.iterations, "batches of 512 requests, with --op")
        ->capture_default_str();
    app.add_flag("--huge-pages", options.huge_pages, "reserve 2 MiB pages for the run (root)");
    app.add_flag("--json", options.json, "end with one JSON object");
    CLI11_PARSE(app, argc, argv);
    try {
        return lagan::perf::run(options);
    } catch (const std::exception& error) {
        fmt::print(stderr, "bench_responder: {}\n", error.what());
        return 1;
    }
}
