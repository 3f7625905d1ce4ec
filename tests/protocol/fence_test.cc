// SPDX-License-Identifier: BSD-3-Clause
// FENCE while stores come in on two lcores: what its settling says is so. No store, free or atomic lands
// behind it, and all that landed before is in the dirty list.
#define BOOST_TEST_MODULE fence_protocol
#include <boost/test/unit_test.hpp>
#include <deque>

#include "datapath/capsule.h"
#include "tests/support/lcore_pair.h"
#include "tests/unit/logged_seed.h"

using namespace lagan;
using namespace lagan::test;
using memory::kPageBytes;

namespace {

// LAGAN_TEST_EAL's "-l" may say otherwise where these two processors cannot be had.
struct TwoLcores {
    TwoLcores() { setenv("LAGAN_TEST_EAL", "--lcores 0,1@(0-1)", 0); }
};

constexpr uint64_t kPages = 64;
constexpr uint32_t kLanes = 4;  // on each lcore

struct Lane {
    LcorePair::Pair pair;
    std::array<uint64_t, 3 * kPageBytes / 8> buffer;
    bool busy = false;
};

// What happens on one lcore. Nothing of Boost.Test here: it belongs to the main thread.
struct Worker final : roce::CompletionSink {
    std::mt19937_64 random;
    std::deque<Lane> lanes;
    uint64_t stored = 0;

    void complete(Qp&, uint64_t cookie, roce::WorkStatus status) override {
        if (cookie >= lanes.size()) return;
        stored += status == roce::WorkStatus::success;
        lanes[cookie].busy = false;
    }
    void post(Engine& engine, uint32_t rkey) {
        for (uint64_t i = 0; i < lanes.size(); i++) {
            Lane& lane = lanes[i];
            if (lane.busy || lane.pair.client->failed) continue;
            const bool whole = random() % 2 == 0;
            const uint64_t va = random() % (kPages - 3) * kPageBytes + (whole ? 0 : random() % kPageBytes);
            const auto bytes =
                static_cast<uint32_t>(whole ? kPageBytes << random() % 2 : 1 + random() % 5000);
            lane.buffer.fill(random());
            lane.busy = roce::post_write(engine, *lane.pair.client, i, rkey, va,
                                         reinterpret_cast<const std::byte*>(lane.buffer.data()), bytes);
        }
    }
};

}  // namespace

BOOST_TEST_GLOBAL_FIXTURE(TwoLcores);

BOOST_AUTO_TEST_CASE(no_store_lands_behind_a_settled_fence) {
    constexpr int kRounds = 6;
    std::mt19937_64 seeds = test::seeded_random();
    for (int round = 0; round < kRounds; round++) {
        Worker workers[LcorePair::kLcores];  // outlive what they are told of
        LcorePair link;
        memory::Region& region =
            link.regions->create({.name = "r", .size_bytes = kPages * kPageBytes, .managed = true});
        BOOST_REQUIRE(region.lease.renew(~0ULL - 1));
        for (uint32_t i = 0; i < LcorePair::kLcores; i++) {
            workers[i].random.seed(seeds());
            for (uint32_t lane = 0; lane < kLanes; lane++)
                workers[i].lanes.push_back({.pair = link.connect(region, i, lane % 2, 1024), .buffer = {}});
            link.clients[i]->completions = &workers[i];
        }
        const LcorePair::Pair fencer = link.connect(region, 0, round % 2, 1024, Role::recover);
        capsule::Header header{};
        header.version = capsule::kVersion;
        header.opcode = static_cast<uint8_t>(capsule::Opcode::fence);
        struct {
            capsule::Header header;
            capsule::Fence fence;
        } request{.header = header, .fence = {.epoch = 2}};

        const uint64_t before_fence = 300 + seeds() % 2000;  // stores
        std::atomic<bool> settled{false};
        bool asked = false;
        uint64_t asked_times = 0, turns_behind = 0;
        std::vector<memory::Pte> at_settling(kPages);
        const auto dropped = [&](uint32_t i) {
            return link.servers[i]->counters.drops[unsigned(DropReason::frozen)];
        };
        const auto step = [&](uint32_t i) {
            workers[i].post(*link.clients[i], region.data_rkey);
            if (i != 0) return !settled.load();
            // All lanes may wait for acknowledgements that a fenced region no longer sends: then the next
            // packets are those that are repeated when the clients' timers have run out.
            if (settled) return ++turns_behind < 3000 || dropped(0) == 0;
            MessageRing& replies = fencer.client->responder.received;
            for (; !replies.empty(); replies.head++) {
                asked = false;
                if (reinterpret_cast<const capsule::FenceReply*>(replies.at(replies.head).data)->settled ==
                    1) {
                    for (uint64_t page = 0; page < kPages; page++)
                        at_settling[page] = region.page_table[page].load();
                    settled = true;
                    return true;
                }
            }
            if (!asked && workers[0].stored > before_fence) {
                asked = roce::post_send(*link.clients[0], *fencer.client, kLanes + 1,
                                        reinterpret_cast<const std::byte*>(&request), sizeof request);
                asked_times++;
            }
            return true;
        };
        link.run(step);
        BOOST_TEST_MESSAGE(workers[0].stored + workers[1].stored << " stores, asked " << asked_times
                                                                 << " times, " << dropped(0) + dropped(1)
                                                                 << " packets dropped behind it");
        BOOST_TEST(dropped(0) != 0U);
        for (uint64_t page = 0; page < kPages; page++) {
            BOOST_REQUIRE(region.page_table[page].load() == at_settling[page]);
            if (at_settling[page] != memory::kAbsent) BOOST_REQUIRE(region.active().is_marked(page));
        }
    }
}
