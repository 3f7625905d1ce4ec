// SPDX-License-Identifier: BSD-3-Clause
// Killed at random instants, an appliance's memory loses nothing that was acknowledged: a process stores,
// frees and makes checkpoints until SIGKILL; the next one opens the arena, checks every page, and goes on.
#define BOOST_TEST_MODULE kill
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <boost/test/unit_test.hpp>
#include <map>
#include <new>
#include <thread>

#include "mgmt/baseline/baseline_reader.h"
#include "mgmt/baseline/store_url.h"
#include "mgmt/recovery/checkpoint.h"
#include "mgmt/recovery/restore.h"
#include "tests/unit/region_fixture.h"

using namespace lagan;
using namespace lagan::memory;
using test::Eal;
using test::RegionNode;

BOOST_TEST_GLOBAL_FIXTURE(Eal);

namespace {

constexpr uint64_t kFrameBytes = 24ULL << 20;
constexpr uint64_t kCutFrames = 256;
constexpr uint64_t kPages = 700;
constexpr unsigned kCheckpointRcuId = 7;

// What outlives the killed process: of each page the newest version that was begun, and the newest that was
// acknowledged. Version 0 and versions divisible by 5 are an absent page.
struct Witness {
    struct Page {
        std::atomic<uint64_t> begun{0};
        std::atomic<uint64_t> acknowledged{0};
    };
    Page pages[kPages];
    std::atomic<uint64_t> checkpoints{0};
};
constexpr bool is_absent(uint64_t version) {
    return version % 5 == 0;
}

Witness& shared_witness() {
    void* memory = mmap(nullptr, sizeof(Witness), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    BOOST_REQUIRE(memory != MAP_FAILED);
    return *new (memory) Witness;
}

recovery::Memory memory_of(RegionNode& node) {
    return {.regions = node.table,
            .frames = node.pool,
            .rcu = node.rcu.get(),
            .rcu_id = kCheckpointRcuId,
            .frames_in_flight = 64,
            .damaged = [](const Region&, uint64_t) { abort(); }};
}

void change_pages(RegionNode& node, Region& region, Witness& witness, uint64_t seed) {
    std::mt19937_64 random(seed);
    node.rcu.online(0);
    RetireQueue retire(node.pool, node.rcu.get(), 512);
    for (;;) {
        node.rcu.quiescent(0);
        retire.reclaim(16);
        if (retire.room() == 0) {
            std::this_thread::yield();
            continue;
        }
        const uint64_t page = random() % kPages;
        Witness::Page& seen = witness.pages[page];
        const uint64_t version = seen.begun.load() + 1;
        seen.begun.store(version);
        if (is_absent(version)) {
            clear_page(region, retire, node.table.budget(), page);
        } else if (!node.store(retire, region, page, version)) {
            abort();
        }
        seen.acknowledged.store(version);
    }
}

// The process that is killed. Never returns.
[[noreturn]] void serve(const std::filesystem::path& scratch, Witness& witness, uint64_t seed) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    try {
        RegionNode node(scratch / "arena", kFrameBytes, kCutFrames);
        Region* region = node.table.find("r");
        if (region == nullptr) region = &node.table.create("r", kPages * kPageBytes, 0, false);
        std::jthread changing([&] { change_pages(node, *region, witness, seed); });
        const auto store = baseline::open_store((scratch / "store").string());
        baseline::BaselineWriter writer(*store, {.name = "r",
                                                 .uid = region->uid,
                                                 .size_bytes = region->size_bytes,
                                                 .epoch = region->epoch,
                                                 .writer = node.arena.instance()});
        for (;;) {
            recovery::Progress progress;
            try {
                make_checkpoint(memory_of(node), *region, writer, 0, progress);
                ++witness.checkpoints;
            } catch (const recovery::CheckpointGivenUp&) {
                // Stored to faster than it was written: tried again.
            }
        }
    } catch (const std::exception& error) {
        fprintf(stderr, "%s\n", error.what());
    }
    _exit(1);
}

void check_pages(RegionNode& node, const Region& region, const Witness& witness) {
    for (uint64_t page = 0; page < kPages; ++page) {
        const uint64_t begun = witness.pages[page].begun, acknowledged = witness.pages[page].acknowledged;
        const uint64_t there = node.load(region, page);
        const bool good = there == 0 ? is_absent(begun) || is_absent(acknowledged)
                                     : there == begun || (there == acknowledged && !is_absent(there));
        BOOST_REQUIRE_MESSAGE(good, "page " << page << " has version " << there << "; acknowledged "
                                            << acknowledged << ", begun " << begun);
    }
}

// What the newest cut has, and the pages that the lists name from the region, are the region: what a failover
// host does.
void check_recovery(RegionNode& node, Region& region, const std::filesystem::path& scratch) {
    const auto store = baseline::open_store((scratch / "store").string());
    if (baseline::list_cuts(*store, "r").empty() || region.dirty->durable_cut() == 0) return;
    const baseline::BaselineReader reader(*store, "r");
    Region& copy = node.table.create({.name = "copy", .size_bytes = region.size_bytes, .restoring = true});
    recovery::Progress progress;
    BOOST_REQUIRE(restore_pages(memory_of(node), copy, reader, progress) == 0U);
    for (uint64_t page = 0; page < kPages; ++page)
        if (!region.active().is_marked(page))
            BOOST_REQUIRE_MESSAGE(node.load(copy, page) == node.load(region, page),
                                  "page " << page << " is clean, and has " << node.load(region, page)
                                          << " here and " << node.load(copy, page) << " in the baseline");
    node.table.destroy(copy);
}

}  // namespace

BOOST_AUTO_TEST_CASE(nothing_acknowledged_is_lost) {
    const char* long_form = std::getenv("LAGAN_TEST_LONG");
    const int rounds = long_form != nullptr && *long_form == '1' ? 2000 : 200;
    const uint64_t seed = test::seed();
    std::mt19937_64 random(seed);
    const test::ScratchArena scratch("kill_test");
    Witness& witness = shared_witness();
    for (int round = 0; round < rounds; ++round) {
        const pid_t child = fork();
        BOOST_REQUIRE(child >= 0);
        if (child == 0) serve(scratch.path, witness, seed + static_cast<uint64_t>(round));
        usleep(static_cast<useconds_t>(random() % 60'000));
        kill(child, SIGKILL);
        int status = 0;
        BOOST_REQUIRE(waitpid(child, &status, 0) == child);
        BOOST_REQUIRE_MESSAGE(WIFSIGNALED(status), "round " << round << ": the process ended by itself");

        RegionNode node(scratch.path / "arena", kFrameBytes, kCutFrames);
        Region* region = node.table.find("r");
        if (region == nullptr) continue;  // killed before it was made
        check_pages(node, *region, witness);
        if (round % 4 == 0) check_recovery(node, *region, scratch.path);
        BOOST_REQUIRE(node.pool.free_count() + region->present == node.pool.capacity());
        // What was begun and not acknowledged may have happened or not: from here on it is what is there.
        for (uint64_t page = 0; page < kPages; ++page) {
            const uint64_t begun = witness.pages[page].begun;
            if (node.load(*region, page) == (is_absent(begun) ? 0 : begun))
                witness.pages[page].acknowledged = begun;
            witness.pages[page].begun = witness.pages[page].acknowledged.load();
        }
    }
    uint64_t changes = 0;
    for (const Witness::Page& page : witness.pages)
        changes += page.acknowledged;
    BOOST_TEST_MESSAGE(rounds << " kills, " << changes << " changes, " << witness.checkpoints
                              << " checkpoints");
    BOOST_TEST(changes > 1000U);
    BOOST_TEST(witness.checkpoints > 0U);
    munmap(&witness, sizeof witness);
}
