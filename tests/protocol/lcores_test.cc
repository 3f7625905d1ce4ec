// SPDX-License-Identifier: BSD-3-Clause
// Two server engines on two lcores share hot pages: no page is torn, no store is lost, and every frame is
// accounted for.
#define BOOST_TEST_MODULE lcores_protocol
#include <boost/test/unit_test.hpp>
#include <deque>

#include "datapath/capsule.h"
#include "tests/protocol/model.h"
#include "tests/support/lcore_pair.h"
#include "tests/unit/logged_seed.h"

using namespace lagan;
using namespace lagan::test;
using memory::kPageBytes;
using roce::WorkStatus;

namespace {

// LAGAN_TEST_EAL's "-l" may say otherwise where these two processors cannot be had.
struct TwoLcores {
    TwoLcores() { setenv("LAGAN_TEST_EAL", "--lcores 0,1@(0-1)", 0); }
};

using Page = std::array<uint64_t, kPageBytes / 8>;

// One connection: an operation at a time, each with its buffer.
struct Lane {
    LcorePair::Pair pair;
    Page buffer;
    enum class Doing : uint8_t { nothing, read, write, free } doing = Doing::nothing;
    bool replied = true;
    uint64_t page = 0;
    uint32_t turn = 0;
};

// What happens on one lcore. Nothing of Boost.Test here: it belongs to the main thread.
struct Worker final : roce::CompletionSink {
    Engine* engine = nullptr;
    std::mt19937_64 random;
    std::deque<Lane> lanes;
    uint64_t operations = 0, reads = 0, torn = 0, failed = 0, lost = 0, bad_replies = 0;

    void complete(Qp&, uint64_t cookie, WorkStatus status) override {
        Lane& lane = lanes[cookie];
        operations++;
        if (status != WorkStatus::success) failed++;
        if (lane.doing == Lane::Doing::read) {
            reads++;
            for (uint64_t word : lane.buffer)
                if (word != lane.buffer[0]) {
                    torn++;
                    break;
                }
        }
        lane.doing = Lane::Doing::nothing;
    }
    void take_reply(Lane& lane) {
        MessageRing& ring = lane.pair.client->responder.received;
        for (; !ring.empty(); ring.head++) {
            const auto& header = *reinterpret_cast<const capsule::Header*>(ring.at(ring.head).data);
            if (header.status != 0) bad_replies++;
            lane.replied = true;
        }
    }
    bool idle() {
        bool all = true;
        for (Lane& lane : lanes) {
            take_reply(lane);
            all &= lane.doing == Lane::Doing::nothing && lane.replied;
        }
        return all;
    }
    bool post_free(uint64_t cookie, uint64_t first, uint32_t pages) {
        struct {
            capsule::Header header;
            capsule::PageRange range;
        } request{};
        request.header.version = capsule::kVersion;
        request.header.opcode = static_cast<uint8_t>(capsule::Opcode::free_pages);
        request.header.count = 1;
        request.range = {.first_page = static_cast<uint32_t>(first), .page_count = pages};
        Lane& lane = lanes[cookie];
        lane.doing = Lane::Doing::free;
        lane.replied = false;
        return roce::post_send(*engine, *lane.pair.client, cookie,
                               reinterpret_cast<const std::byte*>(&request), sizeof request);
    }
    void post_random(uint64_t cookie, uint32_t rkey, uint64_t pages) {
        Lane& lane = lanes[cookie];
        auto* bytes = reinterpret_cast<std::byte*>(lane.buffer.data());
        const uint64_t va = random() % pages * kPageBytes;
        const auto dice = random() % 10;
        bool posted;
        if (dice < 4) {
            lane.doing = Lane::Doing::read;
            posted = roce::post_read(*engine, *lane.pair.client, cookie, rkey, va, bytes, kPageBytes);
        } else if (dice < 8) {
            lane.doing = Lane::Doing::write;
            lane.buffer.fill(random() % 8 == 0 ? 0 : random());
            posted = roce::post_write(*engine, *lane.pair.client, cookie, rkey, va, bytes, kPageBytes);
        } else {
            posted = post_free(cookie, random() % pages, 1);
        }
        if (!posted) failed++;
    }
};

struct Bench {
    Bench() {
        for (uint32_t i = 0; i < LcorePair::kLcores; i++) {
            workers[i].engine = link.clients[i].get();
            workers[i].random.seed(seeds());
            link.clients[i]->completions = &workers[i];
        }
    }
    // The end state, of one thread again.
    void check() {
        for (const Worker& worker : workers) {
            BOOST_TEST_MESSAGE("  " << worker.operations << " operations, " << worker.reads << " reads");
            BOOST_TEST(worker.failed == 0U);
            BOOST_TEST(worker.torn == 0U);
            BOOST_TEST(worker.lost == 0U);
            BOOST_TEST(worker.bad_replies == 0U);
        }
        BOOST_TEST(region.present == present_pages(region));
        BOOST_TEST(link.frames_in_use() == present_pages(region));
        for (const auto& engine : link.servers) {
            BOOST_TEST(engine->counters.handovers > 0U);
            BOOST_TEST(engine->counters.drops[static_cast<unsigned>(DropReason::icrc)] == 0U);
            BOOST_TEST(engine->retire()->pending() == 0U);
        }
        for (const auto& engine : link.clients)  // an ICRC made of a page that changed would show here
            BOOST_TEST(engine->counters.drops[static_cast<unsigned>(DropReason::icrc)] == 0U);
    }

    std::mt19937_64 seeds = seeded_random();
    // A processor may be taken away for seconds: nobody is given up for that.
    LcorePair link{{.ack_timeout = 16}};
    memory::Region& region = link.regions->create("hot", 1 << 20, 0, false);
    Worker workers[LcorePair::kLcores];
};

}  // namespace

BOOST_GLOBAL_FIXTURE(TwoLcores);

BOOST_AUTO_TEST_CASE(hot_pages_stored_read_and_freed_from_both) {
    Bench bench;
    const char* wanted = std::getenv("LAGAN_TEST_LONG");
    const uint64_t operations = wanted != nullptr && *wanted == '1' ? 20'000'000 : 150'000;
    for (uint32_t worker = 0; worker < LcorePair::kLcores; worker++)
        for (uint32_t lane = 0; lane < 8; lane++)  // to both engines, pages whole in one packet and in four
            bench.workers[worker].lanes.push_back(
                {.pair = bench.link.connect(bench.region, worker, lane % 2, lane % 4 < 2 ? 4096 : 1024)});
    bench.link.run([&](uint32_t index) {
        Worker& worker = bench.workers[index];
        const bool more = worker.operations < operations;
        if (worker.idle() && !more) return false;
        for (uint64_t lane = 0; more && lane < worker.lanes.size(); lane++) {
            Lane& l = worker.lanes[lane];
            const bool whole = l.pair.client->mtu_bytes == kPageBytes;
            if (l.doing != Lane::Doing::nothing || !l.replied) continue;
            worker.post_random(lane, bench.region.data_rkey, 4);
            // A READ in several packets may see several versions: that lane's are not judged.
            if (l.doing == Lane::Doing::read && !whole) l.doing = Lane::Doing::write;
        }
        return true;
    });
    bench.check();
}

// Both sides add to the same two words of one page: every one of the values in between is found once.
BOOST_AUTO_TEST_CASE(fetch_and_add_from_both) {
    Bench bench;
    constexpr uint32_t kAdds = 20'000, kLanes = 4;
    for (uint32_t worker = 0; worker < LcorePair::kLcores; worker++)
        for (uint32_t lane = 0; lane < kLanes; lane++)
            bench.workers[worker].lanes.push_back(
                {.pair = bench.link.connect(bench.region, worker, lane % 2, 4096)});
    std::vector<std::atomic<uint8_t>> seen(LcorePair::kLcores * kAdds);
    std::atomic<uint32_t> posted[LcorePair::kLcores] = {};
    bench.link.run([&](uint32_t index) {
        Worker& worker = bench.workers[index];
        bool all_idle = true;
        for (uint64_t i = 0; i < kLanes; i++) {
            Lane& lane = worker.lanes[i];
            if (lane.doing != Lane::Doing::nothing) {
                all_idle = false;
                continue;
            }
            if (lane.turn++ != 0 && (lane.buffer[0] >= seen.size() || seen[lane.buffer[0]]++ != 0))
                worker.lost++;
            lane.turn = 0;
            if (posted[index] == kAdds) continue;
            posted[index]++;
            lane.turn = 1;
            lane.doing = Lane::Doing::write;  // not to be judged as a page
            if (!roce::post_fetch_add(*worker.engine, *lane.pair.client, i, bench.region.data_rkey, 4096 + 64,
                                      reinterpret_cast<std::byte*>(lane.buffer.data()), 1))
                worker.failed++;
            all_idle = false;
        }
        return !all_idle;
    });
    bench.check();
    for (const auto& times : seen)
        BOOST_TEST_REQUIRE(int(times) == 1);
    uint64_t sum;
    std::memcpy(&sum, &memory_of(bench.region, *bench.link.frames)[4096 + 64], sizeof sum);
    BOOST_TEST(sum == seen.size());
}

// Different bytes of one page, stored from different lcores: neither store may undo the other. One side
// stores zeros, which on an absent page take no frame; the other stores something, reads it back, and frees
// the page.
BOOST_AUTO_TEST_CASE(neighbouring_bytes_stored_from_both) {
    Bench bench;
    for (uint32_t worker = 0; worker < LcorePair::kLcores; worker++)
        bench.workers[worker].lanes.push_back(
            {.pair = bench.link.connect(bench.region, worker, 1 - worker, 4096)});
    constexpr uint32_t kRounds = 5'000;
    std::atomic<bool> stop = false;
    bench.link.run([&](uint32_t index) {
        Worker& worker = bench.workers[index];
        if (!worker.idle()) return true;
        Lane& lane = worker.lanes[0];
        auto* bytes = reinterpret_cast<std::byte*>(lane.buffer.data());
        const uint32_t rkey = bench.region.data_rkey;
        if (index == 0) {  // zeros, until the other is done
            if (stop) return false;
            lane.doing = Lane::Doing::write;
            lane.buffer.fill(0);
            return roce::post_write(*worker.engine, *lane.pair.client, 0, rkey, 0, bytes, 64);
        }
        const uint32_t turn = lane.turn++;
        if (turn / 3 == kRounds) {
            stop = true;
            return false;
        }
        if (turn % 3 == 0) {
            lane.doing = Lane::Doing::write;
            lane.buffer[0] = turn + 1;
            return roce::post_write(*worker.engine, *lane.pair.client, 0, rkey, 100, bytes, 8);
        }
        if (turn % 3 == 1) {
            lane.doing = Lane::Doing::write;  // not to be judged as a whole page
            lane.buffer[0] = 0;
            return roce::post_read(*worker.engine, *lane.pair.client, 0, rkey, 100, bytes, 8);
        }
        if (lane.buffer[0] != turn - 1) worker.lost++;
        return worker.post_free(0, 0, 1);
    });
    bench.check();
}
