// SPDX-License-Identifier: BSD-3-Clause
// The pager's bookkeeping: page states and counts, the resident queue, the list of frees, fetching ahead.
#define BOOST_TEST_MODULE page_map
#include <boost/test/unit_test.hpp>

#include "client/pager/free_list.h"
#include "client/pager/page_map.h"
#include "client/pager/resident_queue.h"
#include "client/pager/stream_detector.h"
#include "tests/support/memory_store.h"

using namespace lagan::client::pager;
using lagan::test::MemoryStore;

BOOST_AUTO_TEST_CASE(counts_follow_the_states) {
    PageMap map(8);
    BOOST_TEST(map.resident() == 0u);
    map.set_state(0, PageState::local);
    map.set_state(1, PageState::reading);
    map.set_state(2, PageState::storing);
    map.set_state(3, PageState::remote);
    BOOST_TEST(map.resident() == 2u);
    BOOST_TEST(map.committed() == 3u);
    map.set_state(1, PageState::cached);
    map.set_state(2, PageState::storing_removed);
    map.set_state(0, PageState::local);
    BOOST_TEST(map.resident() == 2u);
    BOOST_TEST(map.committed() == 2u);
}

BOOST_AUTO_TEST_CASE(marks_and_state_are_apart) {
    PageMap map(2);
    map.set_queued(1, true);
    map.set_free_pending(1, true);
    map.predict_writes(1);
    map.set_state(1, PageState::storing_removed);
    BOOST_TEST((map.state(1) == PageState::storing_removed));
    BOOST_TEST(map.queued(1));
    BOOST_TEST(map.free_pending(1));
    map.set_queued(1, false);
    map.set_free_pending(1, false);
    BOOST_TEST(!map.queued(1));
    BOOST_TEST((map.state(1) == PageState::storing_removed));
    for (int i = 0; i < 3; ++i)
        BOOST_TEST(map.take_write_prediction(1));
    BOOST_TEST(!map.take_write_prediction(1));
    BOOST_TEST((map.state(1) == PageState::storing_removed));
    BOOST_TEST(!map.queued(0));
    BOOST_TEST(!map.take_write_prediction(0));
}

BOOST_AUTO_TEST_CASE(the_queue_is_in_order_and_holds_a_page_once) {
    PageMap map(4);
    ResidentQueue queue(map);
    for (int round = 0; round < 5; ++round) {
        for (const uint32_t page : {2u, 0u, 2u, 3u, 1u, 0u})
            queue.push(page);
        BOOST_TEST(queue.size() == 4u);
        BOOST_TEST(queue.pop() == 2u);
        BOOST_TEST(queue.pop() == 0u);
        queue.push(2);
        BOOST_TEST(queue.pop() == 3u);
        BOOST_TEST(queue.pop() == 1u);
        BOOST_TEST(queue.pop() == 2u);
        BOOST_TEST(queue.size() == 0u);
    }
}

namespace {

// Counts what it is asked to free, and refuses after `room` calls.
class CountingStore : public MemoryStore {
  public:
    CountingStore() : MemoryStore({.pages = 64}) {}
    bool free_pages(uint64_t cookie, uint64_t first, uint32_t count) override {
        if (ranges.size() == room) return false;
        ranges.push_back({first, count});
        return MemoryStore::free_pages(cookie, first, count);
    }
    std::vector<std::pair<uint64_t, uint32_t>> ranges;
    size_t room = SIZE_MAX;
};

}  // namespace

BOOST_AUTO_TEST_CASE(frees_go_out_as_ranges_without_what_was_cancelled) {
    PageMap map(64);
    FreeList frees(map);
    CountingStore store;
    for (const uint32_t page : {9u, 3u, 5u, 4u, 10u, 4u, 20u})
        frees.add(page);
    frees.cancel(20);  // stored again
    frees.cancel(9);
    frees.add(9);  // and freed again
    BOOST_TEST(frees.flush(store, 0) == 5u);
    const std::vector<std::pair<uint64_t, uint32_t>> expected = {{3, 3}, {9, 2}};
    BOOST_TEST((store.ranges == expected));
    BOOST_TEST(frees.size() == 0u);
    for (uint32_t page = 0; page < 64; ++page)
        BOOST_TEST(!map.free_pending(page));
}

BOOST_AUTO_TEST_CASE(frees_that_find_no_room_stay) {
    PageMap map(64);
    FreeList frees(map);
    CountingStore store;
    store.room = 1;
    for (const uint32_t page : {1u, 3u, 5u})
        frees.add(page);
    BOOST_TEST(frees.flush(store, 0) == 1u);
    BOOST_TEST(frees.size() == 2u);
    BOOST_TEST(!map.free_pending(1));
    BOOST_TEST(map.free_pending(3));
    store.room = 9;
    BOOST_TEST(frees.flush(store, 0) == 2u);
    BOOST_TEST(frees.size() == 0u);
}

BOOST_AUTO_TEST_CASE(walks_are_recognised_in_both_directions) {
    StreamDetector up;
    BOOST_TEST(up.on_fault(100).pages == 0u);
    auto advice = up.on_fault(101);
    BOOST_TEST(advice.direction == 1);
    BOOST_TEST(advice.pages == 1u);
    advice = up.on_fault(103);  // 102 came along
    BOOST_TEST(advice.pages == 3u);
    for (uint32_t page = 107; page < 4000;) {
        advice = up.on_fault(page);
        BOOST_TEST(advice.direction == 1);
        page += advice.pages + 1;
    }
    BOOST_TEST(advice.pages == StreamDetector::kMaxWindow - 1);

    StreamDetector down;
    down.on_fault(50);
    advice = down.on_fault(49);
    BOOST_TEST(advice.direction == -1);
    BOOST_TEST(advice.pages == 1u);
    down.on_fault(47);
    advice = down.on_fault(3);
    BOOST_TEST(advice.pages == 0u);  // too far for that walk
    down.on_fault(2);
    advice = down.on_fault(0);
    BOOST_TEST(advice.pages == 0u);  // nothing lies below
}

BOOST_AUTO_TEST_CASE(interleaved_walks_do_not_disturb_each_other) {
    StreamDetector detector;
    std::vector<uint32_t> at;
    for (uint32_t i = 0; i < 12; ++i)
        at.push_back(i * 10000);
    uint32_t fetched = 0;
    for (int round = 0; round < 20; ++round) {
        for (uint32_t& page : at) {
            const auto advice = detector.on_fault(page);
            fetched += advice.pages;
            page += advice.pages + 1;
        }
    }
    BOOST_TEST(fetched > 12 * 15 * (StreamDetector::kMaxWindow - 1));
}
