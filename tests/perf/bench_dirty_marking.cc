// SPDX-License-Identifier: BSD-3-Clause
// What the dirty list costs a WRITE of 4 KiB: the same engine serves the same requests with marks and without
// any, batch by batch in turn, so that both meet the same moments of the machine.
//
// meson links this program with --wrap for publish_page(), so that every call of it comes here. The way
// without marks does what publish_page() does with a page that holds a frame, but for the mark.
#include <fmt/format.h>
#include <rte_cycles.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>
#include <stdexcept>
#include <vector>

#include "datapath/memory/retire_queue.h"
#include "tests/perf/responder_rig.h"

namespace {

bool marking = true;

}  // namespace

// The names that the linker's --wrap gives to publish_page() and to its replacement (see meson.build).
#define LAGAN_PUBLISH_PAGE \
    "_ZN5lagan6memory12publish_pageERNS0_6RegionERNS0_9FramePoolERNS0_11RetireQueueERNS0_11FrameBudgetEmjRm"

lagan::memory::PublishResult real_publish_page(
    lagan::memory::Region& region, lagan::memory::FramePool& pool, lagan::memory::RetireQueue& retire,
    lagan::memory::FrameBudget& budget, uint64_t page, lagan::memory::FrameIndex frame,
    lagan::memory::Pte& expected) __asm__("__real_" LAGAN_PUBLISH_PAGE);
lagan::memory::PublishResult wrap_publish_page(
    lagan::memory::Region& region, lagan::memory::FramePool& pool, lagan::memory::RetireQueue& retire,
    lagan::memory::FrameBudget& budget, uint64_t page, lagan::memory::FrameIndex frame,
    lagan::memory::Pte& expected) __asm__("__wrap_" LAGAN_PUBLISH_PAGE);

lagan::memory::PublishResult wrap_publish_page(lagan::memory::Region& region, lagan::memory::FramePool& pool,
                                               lagan::memory::RetireQueue& retire,
                                               lagan::memory::FrameBudget& budget, uint64_t page,
                                               lagan::memory::FrameIndex frame,
                                               lagan::memory::Pte& expected) {
    using namespace lagan::memory;
    if (marking || expected == kAbsent)
        return real_publish_page(region, pool, retire, budget, page, frame, expected);
    FrameMeta& meta = pool.meta(frame);
    meta.region_id = region.id;
    meta.page = static_cast<uint32_t>(page);
    pool.prepare_publication(frame);
    const Pte before = expected;
    if (!region.page_table[page].compare_exchange_strong(expected, make_pte(frame), std::memory_order_acq_rel,
                                                         std::memory_order_acquire))
        return PublishResult::changed;
    retire.retire(pte_frame(before));
    return PublishResult::published;
}

namespace lagan::perf {

namespace {

// What a batch of WRITEs finds. Beside each other way run batches without marks; the control has none
// either, so that what it seems to cost is noise.
enum Way : uint32_t { kUnmarked, kControl, kFirstMark, kMarkedAlready, kWayCount };
constexpr std::array<const char*, kWayCount> kNames = {
    "without marks", "without marks, control", "page marked for the first time", "page marked already"};

class Bench {
  public:
    explicit Bench(const RigOptions& options)
        : rig_(options), order_(rig_.page_count()), next_(order_.size()) {
        std::iota(order_.begin(), order_.end(), 0U);
        std::shuffle(order_.begin(), order_.end(), std::mt19937_64(7));
        for (uint64_t page = 0; page < rig_.page_count();) {
            for (uint32_t i = 0; i < Rig::kBatch && page < rig_.page_count(); i++)
                rig_.write_page(page++);
            rig_.serve();
        }
        if (rig_.region().present != rig_.page_count()) throw std::runtime_error("not every page was stored");
    }

    // One batch of pages in random order, each once before any comes again, whatever the way: all find as
    // much in the caches. Nanoseconds per WRITE.
    double run(Way way) {
        memory::DirtyList& list = rig_.region().active();
        if (next_ + Rig::kBatch > order_.size()) {
            next_ = 0;
            // As a whole, as a cut does it: the bits of the summary are set seldom.
            if (!all_marked_) list.clear();
        }
        for (uint32_t i = 0; i < Rig::kBatch; i++)
            rig_.write_page(order_[next_++]);
        const uint64_t marks = list.count();
        marking = way == kFirstMark || way == kMarkedAlready;
        const uint64_t cycles = rig_.serve();
        marking = true;
        if (list.count() - marks != (way == kFirstMark ? Rig::kBatch : 0))
            throw std::runtime_error(
                fmt::format("{}: {} pages were marked", kNames[way], list.count() - marks));
        return static_cast<double>(cycles) * 1e9 / static_cast<double>(rte_get_tsc_hz()) / Rig::kBatch;
    }
    void mark_all() {
        all_marked_ = true;
        for (uint64_t page = 0; page < rig_.page_count(); page++)
            rig_.region().active().mark(page);
    }
    // The prefetch of the list's words, which the engine does in both ways: nanoseconds per page.
    double prefetch() const {
        const uint64_t begin = rte_rdtsc_precise();
        for (const uint32_t page : order_)
            rig_.region().active().prefetch(page);
        return static_cast<double>(rte_rdtsc_precise() - begin) * 1e9 /
               static_cast<double>(rte_get_tsc_hz()) / static_cast<double>(order_.size());
    }
    Rig& rig() { return rig_; }

  private:
    Rig rig_;
    std::vector<uint32_t> order_;
    size_t next_;
    bool all_marked_ = false;
};

struct Times {
    std::vector<double> without, with;
};

// Batches with and without in turn. Which one is first is drawn: any regular order would give each of them
// its own places in rings and pools, which was seen to make 2 %.
Times compare(Bench& bench, Way way, uint32_t batches) {
    Times times;
    std::mt19937_64 random(11);
    for (uint32_t i = 0; i < batches; i++) {
        const bool with_first = random() % 2 != 0;
        if (with_first) times.with.push_back(bench.run(way));
        times.without.push_back(bench.run(kUnmarked));
        if (!with_first) times.with.push_back(bench.run(way));
    }
    return times;
}

double minimum(const std::vector<double>& samples) {
    return *std::min_element(samples.begin(), samples.end());
}
double median(std::vector<double> samples) {
    std::nth_element(samples.begin(), samples.begin() + static_cast<long>(samples.size() / 2), samples.end());
    return samples[samples.size() / 2];
}

// The share of the rate that marks cost: over pairs of batches that ran one after the other. The prefetch is
// in the time without marks as well, but theirs.
double cost(const Times& times, double prefetch) {
    std::vector<double> shares;
    for (size_t i = 0; i < times.with.size(); i++)
        shares.push_back(1 - (times.without[i] - prefetch) / times.with[i]);
    return median(shares);
}
double cost_by_minima(const Times& times, double prefetch) {
    return 1 - (minimum(times.without) - prefetch) / minimum(times.with);
}

struct Options {
    uint64_t pool_mib = 1024;
    uint32_t batches = 2000;
    bool json = false;
};

int run(const Options& options) {
    Bench bench(
        {.pool_bytes = options.pool_mib << 20, .arena = fmt::format("/dev/shm/lagan-bench-{}", getpid())});
    compare(bench, kFirstMark, std::min(options.batches, 50U));  // warms up
    const Times first = compare(bench, kFirstMark, options.batches);
    const Times control = compare(bench, kControl, options.batches);
    bench.mark_all();
    const Times again = compare(bench, kMarkedAlready, options.batches);
    std::vector<double> prefetches;
    for (int i = 0; i < 9; i++)
        prefetches.push_back(bench.prefetch());
    const double prefetch = minimum(prefetches);

    fmt::print("{:<32}{:>12}{:>12}\n", "ns per WRITE of 4 KiB", "minimum", "median");
    for (const auto& [name, times] : {std::pair{kNames[kUnmarked], &first.without},
                                      {kNames[kFirstMark], &first.with},
                                      {kNames[kUnmarked], &control.without},
                                      {kNames[kControl], &control.with},
                                      {kNames[kUnmarked], &again.without},
                                      {kNames[kMarkedAlready], &again.with}})
        fmt::print("{:<32}{:>12.1f}{:>12.1f}\n", name, minimum(*times), median(*times));
    fmt::print("the list's word prefetched, in all of them: {:.2f} ns\n", prefetch);
    fmt::print(
        "share of the rate that marks cost, by median pair (by minima): {:.4f} ({:.4f}), marked already "
        "{:.4f} ({:.4f})\n",
        cost(first, prefetch), cost_by_minima(first, prefetch), cost(again, prefetch),
        cost_by_minima(again, prefetch), cost(control, 0), cost_by_minima(control, 0));
    const nlohmann::ordered_json json = {
        {"dirty_marking_cost", cost(first, prefetch)},
        {"dirty_marking_cost_by_minima", cost_by_minima(first, prefetch)},
        {"dirty_marking_again_cost", cost(again, prefetch)},
        {"dirty_marking_again_cost_by_minima", cost_by_minima(again, prefetch)},
        {"dirty_marking_noise", cost(control, 0)},
        {"dirty_marking_noise_by_minima", cost_by_minima(control, 0)},
        {"write_4096_unmarked_ns", minimum(first.without)},
        {"dirty_prefetch_ns", prefetch}};
    if (options.json) fmt::print("{}\n", json.dump());
    return 0;
}

}  // namespace

}  // namespace lagan::perf

int main(int argc, char** argv) {
    lagan::perf::Options options;
    CLI::App app("What the dirty list costs a WRITE of 4 KiB, as a share of the rate");
    app.add_option("--pool-mib", options.pool_mib, "memory for pages")
        ->check(CLI::Range(32, 1 << 20))
        ->capture_default_str();
    app.add_option("--batches", options.batches, "batches of 512 requests of each kind")
        ->check(CLI::Range(1, 1'000'000))
        ->capture_default_str();
    app.add_flag("--json", options.json, "end with one JSON object");
    CLI11_PARSE(app, argc, argv);
    try {
        return lagan::perf::run(options);
    } catch (const std::exception& error) {
        fmt::print(stderr, "bench_dirty_marking: {}\n", error.what());
        return 1;
    }
}
