// SPDX-License-Identifier: BSD-3-Clause
// How fast a warm restart takes an arena over, on one core: its page tables walked and compared with the
// frames' metadata, reference counts and free pool made anew. Arenas of several sizes, each full of pages
// whose frames lie in random order, as they do after some time of stores.
//
// Not in it, and given beside it: mapping the files, which is the kernel's work.
#include <fmt/format.h>
#include <rte_malloc.h>
#include <rte_rcu_qsbr.h>
#include <sched.h>
#include <tbb/global_control.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>
#include <stdexcept>
#include <vector>

#include "datapath/memory/region_table.h"
#include "datapath/memory/region_walk.h"
#include "tests/perf/responder_rig.h"

namespace lagan::perf {

namespace {

using Clock = std::chrono::steady_clock;
using memory::Arena;
using memory::FramePool;

double seconds_since(Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
}

void stay_on_one_core() {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<unsigned>(sched_getcpu()), &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) throw std::runtime_error("cannot stay on one core");
}

struct FreeRcu {
    void operator()(rte_rcu_qsbr* rcu) const { rte_free(rcu); }
};
std::unique_ptr<rte_rcu_qsbr, FreeRcu> make_rcu() {
    std::unique_ptr<rte_rcu_qsbr, FreeRcu> rcu(
        static_cast<rte_rcu_qsbr*>(rte_zmalloc("rcu", rte_rcu_qsbr_get_memsize(1), 64)));
    if (!rcu || rte_rcu_qsbr_init(rcu.get(), 1) != 0) throw std::bad_alloc();
    return rcu;
}

// An arena with one region that has all its memory. Returns the number of its pages.
uint64_t fill(const Arena::Options& options) {
    Arena arena(options);
    FramePool pool(arena.frames(), arena.frame_meta());
    memory::RkeyTable rkeys(64);
    const auto rcu = make_rcu();
    memory::RegionTable regions(arena, pool, rkeys, rcu.get(), 0);
    memory::Region& region = regions.create("full", regions.budget().usable() * memory::kPageBytes, 0, false);
    std::vector<memory::FrameIndex> frames(region.page_count);
    for (memory::FrameIndex& frame : frames)
        if ((frame = pool.allocate()) == memory::kNoFrame) throw std::runtime_error("a frame is missing");
    std::shuffle(frames.begin(), frames.end(), std::mt19937_64(7));
    for (uint64_t page = 0; page < region.page_count; ++page)
        if (memory::install_page(region, pool, regions.budget(), page, frames[page]) !=
            memory::PublishResult::published)
            throw std::runtime_error(fmt::format("page {} cannot be installed", page));
    return region.page_count;
}

struct Times {
    double open = 0, walk = 0, pool = 0;
    double restart() const { return walk + pool; }
};

Times restart_once(const Arena::Options& options, uint64_t pages) {
    Times times;
    auto begin = Clock::now();
    Arena arena(options);
    times.open = seconds_since(begin);
    begin = Clock::now();
    const memory::FoundRegions found = memory::walk_regions(arena);
    times.walk = seconds_since(begin);
    begin = Clock::now();
    const FramePool pool(arena.frames(), arena.frame_meta(), found.published);
    times.pool = seconds_since(begin);
    if (found.regions.size() != 1 || found.regions[0].present_pages != pages ||
        found.regions[0].damaged_pages != 0 || pool.free_count() != pool.capacity() - pages)
        throw std::runtime_error("the restart found something else than what was there");
    return times;
}

// The median of several restarts, by the time that counts.
Times restart(uint64_t arena_mib, uint32_t rounds) {
    Arena::Options options{.directory = fmt::format("/dev/shm/lagan-bench-restart-{}", getpid()),
                           .frame_bytes = arena_mib << 20};
    struct Discard {
        const Arena::Options& options;
        ~Discard() {
            std::error_code ignored;
            std::filesystem::remove_all(options.directory, ignored);
        }
    } discard{options};
    const uint64_t pages = fill(options);
    options.start = Arena::Start::keep;
    std::vector<Times> all;
    for (uint32_t round = 0; round < rounds; ++round)
        all.push_back(restart_once(options, pages));
    std::sort(all.begin(), all.end(),
              [](const Times& one, const Times& other) { return one.restart() < other.restart(); });
    return all[all.size() / 2];
}

struct Options {
    std::vector<uint64_t> arena_mib = {256, 512, 1024, 2048};
    uint32_t rounds = 7;
    bool json = false;
};

int run(const Options& options) {
    // As lagand: the arena before EAL.
    stay_on_one_core();
    const tbb::global_control one_thread(tbb::global_control::max_allowed_parallelism, 1);
    init_eal(false);
    nlohmann::ordered_json table = nlohmann::ordered_json::array();
    double slowest = 0, fastest = 0;
    fmt::print("{:>10}{:>10}{:>12}{:>10}{:>10}{:>14}\n", "arena MiB", "walk ms", "counts ms", "both ms",
               "GiB/s", "(mapping ms)");
    for (const uint64_t mib : options.arena_mib) {
        const Times times = restart(mib, options.rounds);
        const double rate = static_cast<double>(mib) / 1024 / times.restart();
        slowest = slowest == 0 ? rate : std::min(slowest, rate);
        fastest = std::max(fastest, rate);
        fmt::print("{:>10}{:>10.2f}{:>12.2f}{:>10.2f}{:>10.1f}{:>14.1f}\n", mib, times.walk * 1e3,
                   times.pool * 1e3, times.restart() * 1e3, rate, times.open * 1e3);
        table.push_back({{"arena_mib", mib},
                         {"walk_ms", times.walk * 1e3},
                         {"counts_ms", times.pool * 1e3},
                         {"gib_per_s", rate},
                         {"mapping_ms", times.open * 1e3}});
    }
    fmt::print("slowest {:.1f} GiB/s, fastest {:.1f}\n", slowest, fastest);
    const nlohmann::ordered_json json = {{"restart_gib_per_s", slowest},
                                         {"restart_fastest_vs_slowest", fastest / slowest},
                                         {"restart_table", table}};
    if (options.json) fmt::print("{}\n", json.dump());
    return 0;
}

}  // namespace

}  // namespace lagan::perf

int main(int argc, char** argv) {
    lagan::perf::Options options;
    CLI::App app("How fast one core takes an arena over at a warm restart");
    app.add_option("--arena-mib", options.arena_mib, "sizes, one after the other")->capture_default_str();
    app.add_option("--rounds", options.rounds, "restarts of each size, whose median counts")
        ->check(CLI::Range(1, 1000))
        ->capture_default_str();
    app.add_flag("--json", options.json, "end with one JSON object");
    CLI11_PARSE(app, argc, argv);
    try {
        return lagan::perf::run(options);
    } catch (const std::exception& error) {
        fmt::print(stderr, "bench_restart: {}\n", error.what());
        return 1;
    }
}
