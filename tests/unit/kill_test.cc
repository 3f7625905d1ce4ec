// SPDX-License-Identifier: BSD-3-Clause
// Killed at random instants, an appliance's memory loses nothing that was acknowledged: a process stores and
// frees on one thread or two, and makes checkpoints, until SIGKILL; the next one opens the arena, checks
// every page, and goes on.
#define BOOST_TEST_MODULE kill
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <thread>
#include <vector>

#include "mgmt/baseline/baseline_reader.h"
#include "mgmt/baseline/store_url.h"
#include "mgmt/recovery/checkpoint.h"
#include "mgmt/recovery/restore.h"
#include "tests/unit/kill_witness.h"
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
constexpr uint64_t kSharedPages = 4;
constexpr unsigned kCheckpointRcuId = 7;

using Witness = test::Witness<kPages>;

recovery::Memory memory_of(RegionNode& node) {
    return {.regions = node.table,
            .frames = node.pool,
            .rcu = node.rcu.get(),
            .rcu_id = kCheckpointRcuId,
            .frames_in_flight = 64,
            .damaged = [](const Region&, uint64_t) { abort(); }};
}

void change_pages(RegionNode& node, Region& region, Witness& witness, unsigned thread, uint64_t seed) {
    std::mt19937_64 random(seed);
    const test::Lcore lcore;
    node.rcu.online(thread);
    RetireQueue retire(node.pool, node.rcu.get(), 512);
    for (;;) {
        node.rcu.quiescent(thread);
        retire.reclaim(16);
        if (retire.room() == 0) {
            std::this_thread::yield();
            continue;
        }
        // On few pages the threads meet.
        const uint64_t page = random() % (random() % 2 == 0 ? kPages : kSharedPages);
        test::PageWitness& seen = witness.pages[page];
        const uint64_t word = seen.next_word(thread);
        seen.begin(thread, word, witness.tickets);
        if (word == 0) {
            clear_page(region, retire, node.table.budget(), page);
        } else if (!node.store(retire, region, page, word)) {
            abort();
        }
        seen.end(thread, witness.tickets);
        if (witness.calm) usleep(1000);
    }
}

// The process that is killed. Never returns.
[[noreturn]] void serve(const std::filesystem::path& scratch, Witness& witness, unsigned threads,
                        uint64_t seed) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    try {
        RegionNode node(scratch / "arena", kFrameBytes, kCutFrames);
        Region* region = node.table.find("r");
        if (region == nullptr) region = &node.table.create("r", kPages * kPageBytes, 0, false);
        std::vector<std::jthread> changing;
        for (unsigned thread = 0; thread < threads; ++thread)
            changing.emplace_back(
                [&, thread] { change_pages(node, *region, witness, thread, seed + thread); });
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

// Now and then a checkpoint is waited for, however slow the machine is.
void let_it_run(Witness& witness, int round, uint64_t random) {
    usleep(static_cast<useconds_t>(random % 60'000));
    if (round % 20 != 19) return;
    const uint64_t before = witness.checkpoints;
    witness.calm = true;
    for (int i = 0; i < 10'000 && witness.checkpoints == before; ++i)
        usleep(1000);
    witness.calm = false;
}

// From here on what is there is what must be there.
void check_pages(RegionNode& node, const Region& region, Witness& witness) {
    for (uint64_t page = 0; page < kPages; ++page) {
        const uint64_t word = node.load(region, page);
        BOOST_REQUIRE_MESSAGE(witness.pages[page].may_hold(word), "page " << page << " has " << word
                                                                          << ", and may have "
                                                                          << witness.pages[page].expected());
        witness.pages[page].settle(word);
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

void kill_and_check(unsigned threads) {
    const char* long_form = std::getenv("LAGAN_TEST_LONG");
    const int rounds = long_form != nullptr && *long_form == '1' ? 2000 : 200;
    const uint64_t seed = test::seed();
    std::mt19937_64 random(seed);
    const test::ScratchArena scratch("kill_test");
    const auto witness = Witness::make();
    for (int round = 0; round < rounds; ++round) {
        const uint64_t child_seed = random();
        const pid_t child = fork();
        BOOST_REQUIRE(child >= 0);
        if (child == 0) serve(scratch.path, *witness, threads, child_seed);
        let_it_run(*witness, round, random());
        kill(child, SIGKILL);
        int status = 0;
        BOOST_REQUIRE(waitpid(child, &status, 0) == child);
        BOOST_REQUIRE_MESSAGE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
                              "round " << round << ": the process ended by itself");

        RegionNode node(scratch.path / "arena", kFrameBytes, kCutFrames);
        Region* region = node.table.find("r");
        if (region == nullptr) continue;  // killed before it was made
        check_pages(node, *region, *witness);
        if (round % 4 == 0) check_recovery(node, *region, scratch.path);
        BOOST_REQUIRE(node.pool.free_count() + region->present == node.pool.capacity());
    }
    uint64_t changes = 0;
    for (const test::PageWitness& page : witness->pages)
        changes += page.changes();
    BOOST_TEST_MESSAGE(rounds << " kills, " << changes << " changes by " << threads << " threads, "
                              << witness->checkpoints << " checkpoints");
    BOOST_TEST(changes > 1000U);
    BOOST_TEST(witness->checkpoints > 0U);
}

}  // namespace

BOOST_AUTO_TEST_CASE(nothing_acknowledged_is_lost) {
    kill_and_check(1);
}

BOOST_AUTO_TEST_CASE(nothing_acknowledged_is_lost_of_pages_that_two_threads_change) {
    kill_and_check(2);
}
