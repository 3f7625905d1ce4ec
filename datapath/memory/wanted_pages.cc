// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/memory/wanted_pages.h"

#include <rte_ring_elem.h>

#include <new>
#include <string>

namespace lagan::memory {

namespace {

// Unique within the process.
std::string ring_name() {
    static std::atomic<uint32_t> counter{0};
    return "lg_wanted_" + std::to_string(counter++);
}

}  // namespace

WantedPages::WantedPages(uint64_t page_count)
    : asked_(std::make_unique<std::atomic<uint64_t>[]>((page_count + 63) / 64)),
      ring_(rte_ring_create_elem(ring_name().c_str(), sizeof(uint64_t), kCapacity + 1, SOCKET_ID_ANY,
                                 RING_F_SC_DEQ)) {
    if (!ring_) throw std::bad_alloc();
}

WantedPages::~WantedPages() = default;

void WantedPages::ask(uint64_t page) {
    std::atomic<uint64_t>& word = asked_[page / 64];
    const uint64_t bit = 1ULL << (page % 64);
    if ((word.load(std::memory_order_relaxed) & bit) != 0) return;
    if ((word.fetch_or(bit, std::memory_order_relaxed) & bit) != 0) return;  // another lcore was faster
    if (rte_ring_mp_enqueue_elem(ring_.get(), &page, sizeof page) != 0)
        word.fetch_and(~bit, std::memory_order_relaxed);
}

size_t WantedPages::take(std::span<uint64_t> pages) {
    return rte_ring_sc_dequeue_burst_elem(ring_.get(), pages.data(), sizeof(uint64_t),
                                          static_cast<unsigned>(pages.size()), nullptr);
}

}  // namespace lagan::memory
