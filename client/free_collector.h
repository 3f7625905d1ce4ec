// SPDX-License-Identifier: BSD-3-Clause
// Collects frees into FREE capsules, and knows which pages a free is still under way for.
//
// The appliance takes stores as they arrive and executes capsules a little later: a store that was sent
// behind a FREE of the same page could be undone by it. So nothing is asked of a page until the reply to its
// FREE is there; conflicts() says so, and the session lets its caller wait. Single-threaded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

namespace lagan::client {

class FreeCollector {
  public:
    static constexpr size_t kMaxRanges = 254;  // of one capsule: 2048 bytes
    static constexpr size_t kMaxInFlight = 4;  // capsules

    bool has_room() const { return collected_.ranges.size() < kMaxRanges; }
    bool anything_to_send() const { return !collected_.ranges.empty() && in_flight_.size() < kMaxInFlight; }
    bool full() const { return collected_.ranges.size() == kMaxRanges; }

    void add(uint64_t cookie, uint64_t first_page, uint32_t page_count);

    // Is a free of any of these pages collected or in flight?
    bool conflicts(uint64_t first_page, uint64_t page_count) const;

    // The capsule to send. Call sent() once it has been posted.
    std::vector<std::byte> capsule() const;
    void sent();

    // The reply that came: its cookies are done. Empty when it answers nothing that is in flight (the oldest
    // is answered first).
    std::vector<uint64_t> answered(uint32_t tag);

    // The connection has failed: all cookies.
    std::vector<uint64_t> abandon();

  private:
    struct Range {
        uint64_t first_page;
        uint32_t page_count;
    };
    struct Batch {
        uint32_t tag = 0;
        std::vector<Range> ranges;
        std::vector<uint64_t> cookies;
    };
    static bool overlaps(const Batch& batch, uint64_t first_page, uint64_t page_count);

    Batch collected_;
    std::deque<Batch> in_flight_;
    uint32_t next_tag_ = 1;
};

}  // namespace lagan::client
