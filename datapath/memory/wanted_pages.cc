// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/memory/wanted_pages.h"

#include <rte_ring_elem.h>

#include <new>

namespace lagan::memory {

WantedPages::WantedPages(uint64_t page_count)
    : words_((page_count + 63) / 64), asked_(std::make_unique<std::atomic<uint64_t>[]>(words_)) {
    const auto bytes =
        static_cast<size_t>(rte_ring_get_memsize_elem(sizeof(uint64_t), kCapacity + 1));  // whole cache lines
    ring_.reset(static_cast<rte_ring*>(std::aligned_alloc(RTE_CACHE_LINE_SIZE, bytes)));
    if (!ring_ || rte_ring_init(ring_.get(), "wanted", kCapacity + 1, RING_F_SC_DEQ) != 0)
        throw std::bad_alloc();
}

void WantedPages::ask(uint64_t page) {
    std::atomic<uint64_t>& word = asked_[page / 64];
    const uint64_t bit = 1ULL << (page % 64);
    if ((word.load(std::memory_order_relaxed) & bit) != 0) return;
    if ((word.fetch_or(bit, std::memory_order_relaxed) & bit) != 0) return;  // another lcore was faster
    if (rte_ring_mp_enqueue_elem(ring_.get(), &page, sizeof page) != 0)
        word.fetch_and(~bit, std::memory_order_relaxed);
}

void WantedPages::forget_asked() {
    for (uint64_t word = 0; word < words_; ++word)
        asked_[word].store(0, std::memory_order_relaxed);
}

size_t WantedPages::take(std::span<uint64_t> pages) {
    return rte_ring_sc_dequeue_burst_elem(ring_.get(), pages.data(), sizeof(uint64_t),
                                          static_cast<unsigned>(pages.size()), nullptr);
}

}  // namespace lagan::memory
