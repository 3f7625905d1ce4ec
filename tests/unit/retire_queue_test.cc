// SPDX-License-Identifier: BSD-3-Clause
#define BOOST_TEST_MODULE retire_queue
#include "datapath/memory/retire_queue.h"

#include <boost/test/unit_test.hpp>

#include "tests/unit/memory_fixture.h"

using namespace lagan;
using namespace lagan::memory;
using test::Eal;
using test::PoolMemory;

BOOST_TEST_GLOBAL_FIXTURE(Eal);

namespace {

FrameIndex published(FramePool& pool) {
    const FrameIndex frame = pool.allocate();
    BOOST_REQUIRE(frame != kNoFrame);
    pool.prepare_publication(frame);
    return frame;
}

}  // namespace

BOOST_AUTO_TEST_CASE(frames_wait_for_every_online_lcore) {
    PoolMemory m(256);
    test::Rcu rcu;
    rcu.online(0);
    rcu.online(1);
    RetireQueue queue(m.pool, rcu.get(), 16);
    queue.retire(published(m.pool));
    const uint32_t free_before = m.pool.free_count();
    BOOST_TEST(queue.pending() == 1U);
    BOOST_TEST(queue.room() == 15U);

    queue.reclaim(100);
    rcu.quiescent(0);
    queue.reclaim(100);
    BOOST_TEST(m.pool.free_count() == free_before);  // lcore 1 may still be reading
    rcu.quiescent(1);
    queue.reclaim(100);
    BOOST_TEST(m.pool.free_count() == free_before + 1);
    BOOST_TEST(queue.room() == 16U);

    // Quiescence from before the retirement does not count; an offline lcore does not hold anything up.
    queue.retire(published(m.pool));
    rcu.quiescent(0);
    rcu.quiescent(1);
    queue.reclaim(100);
    BOOST_TEST(queue.pending() == 1U);
    rcu.quiescent(0);
    rcu.offline(1);
    queue.reclaim(100);
    BOOST_TEST(queue.pending() == 0U);
}

BOOST_AUTO_TEST_CASE(drops_stop_at_the_budget) {
    PoolMemory m(256);
    test::Rcu rcu;
    rcu.online(0);
    RetireQueue queue(m.pool, rcu.get(), 100);
    for (int i = 0; i < 100; ++i)
        queue.retire(published(m.pool));
    BOOST_TEST(queue.room() == 0U);
    queue.reclaim(0);
    rcu.quiescent(0);
    queue.reclaim(30);
    BOOST_TEST(queue.pending() == 70U);
    queue.reclaim(69);
    BOOST_TEST(queue.pending() == 1U);
    queue.reclaim(1);
    BOOST_TEST(queue.pending() == 0U);
}

BOOST_AUTO_TEST_CASE(more_batches_than_tokens_in_flight) {
    PoolMemory m(4096);
    test::Rcu rcu;
    rcu.online(0);
    RetireQueue queue(m.pool, rcu.get(), 1000);
    for (int i = 0; i < 1000; ++i) {  // one batch each, none can pass
        queue.retire(published(m.pool));
        queue.reclaim(8);
    }
    BOOST_TEST(queue.pending() == 1000U);
    for (int i = 0; i < 3; ++i) {  // once for the stamped ones, once for the rest
        rcu.quiescent(0);
        queue.reclaim(1000);
    }
    BOOST_TEST(queue.pending() == 0U);
    BOOST_TEST(m.pool.free_count() == 4096U);
}

BOOST_AUTO_TEST_CASE(a_reader_keeps_a_retired_frame_beyond_the_grace_period) {
    PoolMemory m(256);
    test::Rcu rcu;
    RetireQueue queue(m.pool, rcu.get(), 4);
    const FrameIndex frame = published(m.pool);
    m.pool.reference(frame);
    queue.retire(frame);
    const uint32_t free_before = m.pool.free_count();
    queue.reclaim(4);
    BOOST_TEST(queue.pending() == 0U);
    BOOST_TEST(m.pool.free_count() == free_before);
    test::drop_reference(m.pool, frame);
    BOOST_TEST(m.pool.free_count() == free_before + 1);
}

BOOST_AUTO_TEST_CASE(random_sequences_lose_no_frame) {
    PoolMemory m(512);
    test::Rcu rcu;
    rcu.online(0);
    rcu.online(1);
    std::mt19937_64 random(test::seed());
    {
        RetireQueue queue(m.pool, rcu.get(), 100);
        uint64_t outstanding = 0;
        for (int step = 0; step < 200'000; ++step) {
            switch (random() % 5) {
                case 0:
                case 1:
                    if (queue.room() != 0) queue.retire(published(m.pool));
                    break;
                case 2:
                    queue.reclaim(static_cast<uint32_t>(random() % 20));
                    break;
                default:
                    rcu.quiescent(random() % 2);
            }
            outstanding = queue.pending();
            if (outstanding > 100 || m.pool.free_count() + outstanding != 512)
                BOOST_FAIL("a frame was lost or freed twice");
        }
    }
    BOOST_TEST(m.pool.free_count() == 512U);  // the destructor drops the rest
}

BOOST_AUTO_TEST_CASE(bad_capacities_are_refused) {
    PoolMemory m(16);
    test::Rcu rcu;
    BOOST_CHECK_THROW(RetireQueue(m.pool, rcu.get(), 0), std::invalid_argument);
    BOOST_CHECK_THROW(RetireQueue(m.pool, rcu.get(), (1U << 30) + 1), std::invalid_argument);
}
