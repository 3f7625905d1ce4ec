// SPDX-License-Identifier: BSD-3-Clause
// The pages of a region that is being rebuilt which somebody waits for: lcores ask, the rebuilder brings them
// before the others.
#pragma once

#include <rte_ring.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>

namespace lagan::memory {

class WantedPages {
  public:
    // Takes a bit a page, and room for the numbers of `kCapacity`; of the heap, not of EAL's memory. Throws
    // std::bad_alloc.
    explicit WantedPages(uint64_t page_count);
    WantedPages(const WantedPages&) = delete;
    WantedPages& operator=(const WantedPages&) = delete;

    // Any lcore, O(1). Asked for once, however often this is called; when the ring is full, not at all:
    // whoever waits calls again.
    void ask(uint64_t page);
    // One thread, the rebuilder: pages asked for since, oldest first; returns how many.
    size_t take(std::span<uint64_t> pages);

    // The rebuilder, before it begins: what was asked for and never brought, by one that has ended, may be
    // asked for again.
    void forget_asked();

    static constexpr uint32_t kCapacity = 8191;

  private:
    struct FreeRing {
        void operator()(rte_ring* ring) const { std::free(ring); }
    };
    const uint64_t words_;
    std::unique_ptr<std::atomic<uint64_t>[]> asked_;  // atomic: a bit a page
    std::unique_ptr<rte_ring, FreeRing> ring_;        // any lcore → rebuilder: page numbers
};

}  // namespace lagan::memory
