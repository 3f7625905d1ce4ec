// SPDX-License-Identifier: BSD-3-Clause
// The pages of a region that is being rebuilt which somebody waits for: lcores ask, the rebuilder brings them
// before the others.
#pragma once

#include <rte_ring.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

namespace lagan::memory {

class WantedPages {
  public:
    // Takes a bit a page, and room for the numbers of `kCapacity`. Throws std::bad_alloc. EAL is up.
    explicit WantedPages(uint64_t page_count);
    ~WantedPages();
    WantedPages(const WantedPages&) = delete;
    WantedPages& operator=(const WantedPages&) = delete;

    // Any lcore, O(1). Asked for once, however often this is called; when the ring is full, not at all:
    // whoever waits calls again.
    void ask(uint64_t page);
    // One thread, the rebuilder: pages asked for since, oldest first; returns how many.
    size_t take(std::span<uint64_t> pages);

    static constexpr uint32_t kCapacity = 8191;

  private:
    struct FreeRing {
        void operator()(rte_ring* ring) const { rte_ring_free(ring); }
    };
    std::unique_ptr<std::atomic<uint64_t>[]> asked_;  // atomic: a bit a page
    std::unique_ptr<rte_ring, FreeRing> ring_;        // any lcore → rebuilder: page numbers
};

}  // namespace lagan::memory
