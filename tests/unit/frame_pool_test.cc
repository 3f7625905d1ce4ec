// SPDX-License-Identifier: BSD-3-Clause
#define BOOST_TEST_MODULE frame_pool
#include "datapath/memory/frame_pool.h"

#include <rte_mempool.h>

#include <atomic>
#include <boost/test/unit_test.hpp>
#include <set>
#include <thread>

#include "tests/unit/memory_fixture.h"

using namespace lagan;
using namespace lagan::memory;
using test::Eal;
using test::PoolMemory;

BOOST_TEST_GLOBAL_FIXTURE(Eal);

static_assert(sizeof(FrameMeta) <= 64 && alignof(FrameMeta) == 64);

namespace {

std::vector<FrameIndex> allocate_all(FramePool& pool) {
    std::vector<FrameIndex> frames;
    for (FrameIndex frame = pool.allocate(); frame != kNoFrame; frame = pool.allocate())
        frames.push_back(frame);
    return frames;
}

}  // namespace

BOOST_AUTO_TEST_CASE(one_thread_gets_every_frame_once) {
    for (const uint32_t capacity : {1U, 2U, 7U, 16U, 1000U, 5000U}) {
        PoolMemory m(capacity);
        BOOST_TEST(m.pool.capacity() == capacity);
        BOOST_TEST(m.pool.free_count() == capacity);
        const std::vector<FrameIndex> frames = allocate_all(m.pool);
        BOOST_TEST(std::set<FrameIndex>(frames.begin(), frames.end()).size() == capacity);
        BOOST_TEST(frames.size() == capacity);
        BOOST_TEST(m.pool.free_count() == 0U);
        for (const FrameIndex frame : frames)
            m.pool.release(frame);
        BOOST_TEST(m.pool.free_count() == capacity);
        BOOST_TEST(allocate_all(m.pool).size() == capacity);
    }
}

BOOST_AUTO_TEST_CASE(threads_that_are_no_lcores_use_the_ring) {
    PoolMemory m(4096);
    std::thread([&] {
        BOOST_TEST(rte_lcore_id() == LCORE_ID_ANY);
        const std::vector<FrameIndex> frames = allocate_all(m.pool);
        BOOST_TEST(frames.size() == 4096U);
        for (const FrameIndex frame : frames)
            m.pool.release(frame);
    }).join();
    BOOST_TEST(m.pool.free_count() == 4096U);
    BOOST_TEST(allocate_all(m.pool).size() == 4096U);  // nothing stuck in a cache
}

BOOST_AUTO_TEST_CASE(idle_caches_hold_back_no_more_than_the_slack) {
    PoolMemory m(100'000);
    BOOST_TEST(m.pool.cache_limit() == FramePool::kCacheFrames);
    std::vector<FrameIndex> frames = allocate_all(m.pool);
    BOOST_TEST(frames.size() == 100'000U);
    for (const FrameIndex frame : frames)
        m.pool.release(frame);
    std::thread([&] {
        const test::Lcore lcore;
        BOOST_TEST(allocate_all(m.pool).size() >= 100'000U - m.pool.slack_frames());
    }).join();

    PoolMemory small(64);
    BOOST_TEST(small.pool.slack_frames() <= 8U);
}

BOOST_AUTO_TEST_CASE(sizes_that_do_not_fit_are_refused) {
    test::Memory memory(8 * kPageBytes);
    std::vector<FrameMeta> meta(8);
    const auto refused = [&](std::span<std::byte> frames, size_t metas) {
        BOOST_CHECK_THROW(FramePool(frames, std::span(meta).first(metas)), std::runtime_error);
    };
    refused({}, 0);
    refused(memory.bytes().first(100), 0);
    refused(memory.bytes(), 7);
    refused(memory.bytes().first(7 * kPageBytes), 8);
    refused(memory.bytes().subspan(64, 7 * kPageBytes), 7);
}

BOOST_AUTO_TEST_CASE(a_published_frame_returns_when_page_table_and_readers_let_go) {
    PoolMemory m(64);
    const FrameIndex frame = m.pool.allocate();
    const uint32_t free_before = m.pool.free_count();
    m.pool.meta(frame).region_id = 5;
    m.pool.prepare_publication(frame);
    m.pool.reference(frame);
    m.pool.reference(frame);
    test::drop_reference(m.pool, frame);
    m.pool.drop_publication(frame);
    BOOST_TEST(m.pool.free_count() == free_before);  // one reader left
    test::drop_reference(m.pool, frame);
    BOOST_TEST(m.pool.free_count() == free_before + 1);
    BOOST_TEST(m.pool.meta(frame).region_id == 0U);

    BOOST_TEST(m.pool.allocate() == frame);
    m.pool.prepare_publication(frame);
    m.pool.drop_publication(frame);
    BOOST_TEST(m.pool.free_count() == free_before + 1);
}

BOOST_AUTO_TEST_CASE(freeing_an_mbuf_on_a_frame_returns_the_frame) {
    PoolMemory m(64);
    rte_mempool* mbufs = rte_pktmbuf_pool_create("frame_pool_test", 63, 0, 0, 128, SOCKET_ID_ANY);
    BOOST_REQUIRE(mbufs != nullptr);
    const FrameIndex frame = m.pool.allocate();
    m.pool.prepare_publication(frame);
    std::vector<rte_mbuf*> in_flight;
    for (const size_t offset : {size_t{0}, size_t{1024}, size_t{4095}}) {
        rte_mbuf* mbuf = rte_pktmbuf_alloc(mbufs);
        m.pool.reference(frame);
        rte_pktmbuf_attach_extbuf(mbuf, m.pool.data(frame) + offset, 0,
                                  static_cast<uint16_t>(kPageBytes - offset), &m.pool.meta(frame).shinfo);
        in_flight.push_back(mbuf);
    }
    m.pool.drop_publication(frame);
    const uint32_t free_before = m.pool.free_count();
    for (rte_mbuf* mbuf : in_flight) {
        BOOST_TEST(m.pool.free_count() == free_before);
        rte_pktmbuf_free(mbuf);
    }
    BOOST_TEST(m.pool.free_count() == free_before + 1);
    rte_mempool_free(mbufs);
}

BOOST_AUTO_TEST_CASE(no_frame_has_two_owners) {
    constexpr uint32_t kFrames = 20'000;
    constexpr int kThreads = 8;  // more than processors: some are preempted in the midst of it
    PoolMemory m(kFrames);
    std::vector<std::atomic<int>> owner(kFrames);
    std::atomic<uint64_t> clashes{0};
    const uint64_t base = test::seed();
    {
        std::vector<std::jthread> threads;
        for (int id = 1; id <= kThreads; ++id) {
            threads.emplace_back([&, id] {
                // Every other one is no lcore and goes to the ring for each frame.
                const auto lcore = id % 2 == 0 ? nullptr : std::make_unique<test::Lcore>();
                std::mt19937_64 random(base + static_cast<uint64_t>(id));
                std::vector<FrameIndex> mine;
                const auto give_back = [&] {
                    if (owner[mine.back()].exchange(0) != id) ++clashes;
                    m.pool.release(mine.back());
                    mine.pop_back();
                };
                for (int round = 0; round < 500; ++round) {
                    // Few at a time in half of the rounds: the ring of free frames is nearly full then.
                    const uint64_t most = round % 2 == 0 ? 1500 : 300;
                    for (uint64_t n = random() % most; n != 0; --n) {
                        const FrameIndex frame = m.pool.allocate();
                        if (frame == kNoFrame) break;
                        if (owner[frame].exchange(id) != 0) ++clashes;
                        mine.push_back(frame);
                    }
                    for (uint64_t n = random() % most; n != 0 && !mine.empty(); --n)
                        give_back();
                }
                while (!mine.empty())
                    give_back();
            });
        }
    }
    BOOST_TEST(clashes.load() == 0U);
    BOOST_TEST(m.pool.free_count() == kFrames);
}
