// SPDX-License-Identifier: BSD-3-Clause
// The whole pager against a model of the kernel and of a program with threads (model_space.h) and far memory
// that completes late: no thread ever sees a wrong byte, local memory stays under its limit, and at the end
// there is one live copy of each page.
#define BOOST_TEST_MODULE pager
#include <boost/test/unit_test.hpp>

#include "client/pager/pager.h"
#include "tests/support/memory_store.h"
#include "tests/support/model_space.h"
#include "tests/unit/logged_seed.h"

using namespace lagan::client::pager;
using lagan::test::MemoryStore;
using lagan::test::ModelSpace;

namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr uint32_t kLimitPages = kMiB / kPageBytes;

struct Shape {
    uint32_t pages, threads;
    uint32_t depth;        // of the store
    uint32_t delay_polls;  // at most
    bool prefetch;
    ModelSpace::Habits habits;
    uint32_t steps;
    uint32_t unmaps = 0;  // of 10000 steps
};

void settle(Pager& pager, ModelSpace& space) {
    for (int turn = 0; turn < 100000 && !(pager.quiet() && space.all_idle()); ++turn) {
        space.run_to_idle();
        pager.step();
    }
    BOOST_REQUIRE(pager.quiet());
    BOOST_REQUIRE(space.all_idle());
}

uint64_t stored(const MemoryStore& store, uint32_t page) {
    uint64_t value = 0;
    if (store.present(page)) std::memcpy(&value, store.content(page), sizeof value);
    return value;
}

// What a page holds, wherever it is.
uint64_t content(const MemoryStore& store, const ModelSpace& space, uint32_t page) {
    return space.present(page) ? space.value(page) : stored(store, page);
}

void run(const Shape& shape, std::mt19937_64& random) {
    MemoryStore store({.pages = shape.pages, .depth = shape.depth, .delay_polls = shape.delay_polls});
    Pager pager(store, {.local_memory_bytes = kMiB, .prefetch = shape.prefetch});
    auto owned = std::make_unique<ModelSpace>(shape.pages, shape.threads, random);
    ModelSpace& space = *owned;
    pager.attach(std::move(owned));

    uint32_t most = 0;
    for (uint32_t step = 0; step < shape.steps; ++step) {
        for (uint64_t n = random() % 4; n > 0; --n)
            space.run_thread(shape.habits);
        if (random() % 10000 < shape.unmaps) {
            const auto first = static_cast<uint32_t>(random() % shape.pages);
            space.unmap(first, std::min(shape.pages - first, 1 + static_cast<uint32_t>(random() % 30)));
        }
        pager.step();
        if (step % 16 == 0) most = std::max(most, space.present_pages());
        if (step % 4096 == 0) settle(pager, space);
    }
    settle(pager, space);
    BOOST_TEST(most <= kLimitPages);
    BOOST_TEST(store.absent_reads() == 0u);
    BOOST_TEST(space.accesses() > shape.steps / 50);

    uint32_t wrong = 0, doubled = 0;
    for (uint32_t page = 0; page < shape.pages; ++page) {
        if (space.unmapped(page)) continue;
        if (!shape.habits.racing && content(store, space, page) != space.expected(page)) ++wrong;
        // A page that is here and writable has no copy there.
        if (space.present(page) && store.present(page) &&
            content(store, space, page) != stored(store, page)) {
            ++doubled;
        }
    }
    BOOST_TEST(wrong == 0u);
    BOOST_TEST(doubled == 0u);
    BOOST_TEST_MESSAGE(pager.stats().faults << " faults, " << pager.stats().pages_read << " read, "
                                            << pager.stats().pages_stored << " stored, "
                                            << pager.stats().pages_freed << " freed, peak " << most);
}

uint32_t steps(uint32_t normal) {
    const char* longer = std::getenv("LAGAN_TEST_LONG");
    return longer && *longer == '1' ? normal * 20 : normal;
}

}  // namespace

BOOST_AUTO_TEST_CASE(threads_never_see_a_wrong_byte) {
    auto random = lagan::test::seeded_random();
    for (const bool prefetch : {false, true}) {
        for (const uint32_t delay : {0u, 3u, 40u}) {
            run({2000,
                 6,
                 16 + static_cast<uint32_t>(random() % 200),
                 delay,
                 prefetch,
                 {300, 50, 20, false},
                 steps(60000)},
                random);
        }
    }
}

BOOST_AUTO_TEST_CASE(one_thread_that_mostly_reads) {
    auto random = lagan::test::seeded_random();
    run({3000, 1, 64, 2, true, {2000, 5, 2, false}, steps(60000)}, random);
}

BOOST_AUTO_TEST_CASE(many_threads_on_few_pages) {
    auto random = lagan::test::seeded_random();
    run({600, 40, 8, 5, true, {20, 70, 60, false}, steps(60000)}, random);
}

BOOST_AUTO_TEST_CASE(threads_that_race_with_their_own_removals) {
    auto random = lagan::test::seeded_random();
    for (const uint32_t delay : {0u, 10u}) {
        run({1000, 8, 64, delay, true, {100, 60, 100, true}, steps(60000)}, random);
    }
}

BOOST_AUTO_TEST_CASE(parts_of_the_mapping_are_unmapped) {
    auto random = lagan::test::seeded_random();
    for (const uint32_t delay : {0u, 10u}) {
        run({3000, 8, 64, delay, true, {300, 50, 20, false}, steps(60000), 15}, random);
    }
}

BOOST_AUTO_TEST_CASE(a_store_that_fails_is_told) {
    auto random = lagan::test::seeded_random();
    MemoryStore store({.pages = 2000, .fail_after = 500});
    Pager pager(store, {.local_memory_bytes = kMiB});
    auto owned = std::make_unique<ModelSpace>(2000, 4, random);
    ModelSpace& space = *owned;
    pager.attach(std::move(owned));
    BOOST_CHECK_THROW(
        for (int step = 0; step < 200000; ++step) {
            space.run_thread({2000, 100, 0, false});
            pager.step();
        },
        std::runtime_error);
}

BOOST_AUTO_TEST_CASE(a_lost_connection_is_told) {
    auto random = lagan::test::seeded_random();
    MemoryStore store({.pages = 2000, .disconnect_after = 300});
    Pager pager(store, {.local_memory_bytes = kMiB});
    auto owned = std::make_unique<ModelSpace>(2000, 4, random);
    ModelSpace& space = *owned;
    pager.attach(std::move(owned));
    try {
        for (int step = 0; step < 200000; ++step) {
            space.run_thread({2000, 100, 0, false});
            pager.step();
        }
        BOOST_FAIL("the pager did not notice");
    } catch (const std::runtime_error& error) {
        BOOST_TEST(std::string(error.what()).find("connection lost (test)") != std::string::npos);
    }
}

BOOST_AUTO_TEST_CASE(a_second_mapping_starts_empty) {
    auto random = lagan::test::seeded_random();
    MemoryStore store({.pages = 2000, .delay_polls = 2});
    Pager pager(store, {.local_memory_bytes = kMiB});
    for (int image = 0; image < 3; ++image) {
        auto owned = std::make_unique<ModelSpace>(2000, 4, random);
        ModelSpace& space = *owned;
        pager.attach(std::move(owned));
        BOOST_TEST(store.present_pages() == 0u);
        BOOST_TEST(pager.stats().resident_pages == 0u);
        // Left in the middle of what it does, as exec leaves it. Reads of the next one must see zeros.
        for (int step = 0; step < 20000; ++step) {
            space.run_thread({2000, 60, 5, false});
            pager.step();
        }
        BOOST_TEST(store.present_pages() > 100u);
    }
}

BOOST_AUTO_TEST_CASE(what_an_image_left_unsent_is_not_the_next_ones) {
    auto random = lagan::test::seeded_random();
    // A store that takes few at a time: batches are nearly always left with pages to send.
    MemoryStore store({.pages = 1000, .depth = 4, .delay_polls = 3});
    Pager pager(store, {.local_memory_bytes = kMiB});
    for (int image = 0; image < 4; ++image) {
        auto owned = std::make_unique<ModelSpace>(1000, 200, random);
        ModelSpace& space = *owned;
        pager.attach(std::move(owned));
        while (space.run_thread({1000, 90, 0, false})) {
        }  // until all of them wait for their first page
        for (int step = 0; step < 10000; ++step) {
            space.run_thread({1000, 90, 0, false});
            pager.step();
            // Every page that takes memory is counted, and so can be evicted.
            if (space.present_pages() > pager.stats().resident_pages) {
                BOOST_TEST(space.present_pages() == pager.stats().resident_pages);
                return;
            }
        }
        BOOST_TEST(store.present_pages() > 100u);
    }
}

BOOST_AUTO_TEST_CASE(limits_are_checked) {
    MemoryStore store({.pages = 100});
    BOOST_CHECK_THROW(Pager(store, {.local_memory_bytes = kMiB - 1}), std::invalid_argument);
    Pager pager(store, {.local_memory_bytes = kMiB});
    std::mt19937_64 random;
    BOOST_CHECK_THROW(pager.attach(std::make_unique<ModelSpace>(101, 1, random)), std::runtime_error);
}
