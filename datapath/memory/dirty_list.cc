// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/memory/dirty_list.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>

namespace lagan::memory {

static_assert(std::endian::native == std::endian::little,
              "the dirty list is read over RDMA as little-endian memory");
static_assert(std::atomic<uint64_t>::is_always_lock_free && sizeof(std::atomic<uint64_t>) == 8);

namespace {

constexpr uint64_t kPagesPerSummaryWord = 64ULL * kPagesPerSummaryBit;

constexpr uint64_t divide_up(uint64_t value, uint64_t by) {
    return (value + by - 1) / by;
}
constexpr uint64_t round_to_page(uint64_t bytes) {
    return divide_up(bytes, kPageBytes) * kPageBytes;
}

}  // namespace

uint64_t DirtyList::summary_bytes(uint64_t page_count) {
    return round_to_page(divide_up(page_count, kPagesPerSummaryWord) * 8);
}

uint64_t DirtyList::bitmap_bytes(uint64_t page_count) {
    return round_to_page(divide_up(page_count, 64) * 8);
}

DirtyList::DirtyList(std::byte* summary, std::byte* bitmap, uint64_t page_count)
    : summary_(reinterpret_cast<std::atomic<uint64_t>*>(summary)),
      bitmap_(reinterpret_cast<std::atomic<uint64_t>*>(bitmap)),
      page_count_(page_count) {
    count_ = count_marks();
}

void DirtyList::set(std::atomic<uint64_t>& word, uint64_t bit, uint64_t page) {
    // The summary bit first: whoever sees the page's bit, such as a second store that then skips all this,
    // may rely on the summary bit being there for readers that start from it.
    const uint64_t group = page / kPagesPerSummaryBit;
    std::atomic<uint64_t>& summary = summary_[group / 64];
    const uint64_t summary_bit = 1ULL << (group % 64);
    if ((summary.load(std::memory_order_acquire) & summary_bit) == 0)
        summary.fetch_or(summary_bit, std::memory_order_acq_rel);
    if ((word.fetch_or(bit, std::memory_order_acq_rel) & bit) == 0)
        count_.fetch_add(1, std::memory_order_relaxed);
}

// The bitmap word that holds `page`: the bits from `page` on, none beyond the region's end.
uint64_t DirtyList::word_at(uint64_t page) const {
    uint64_t word = bitmap_[page / 64].load(std::memory_order_acquire) & (~0ULL << (page % 64));
    const uint64_t end = page / 64 * 64 + 64;
    if (end > page_count_) word &= ~0ULL >> (end - page_count_);
    return word;
}

// The first page from `page` on whose group has its summary bit set, or page_count at the end. Stops early,
// at a page not yet looked at, when the budget has run out.
uint64_t DirtyList::next_candidate(uint64_t page, uint32_t& word_budget) const {
    while (page < page_count_ && word_budget != 0) {
        --word_budget;
        const uint64_t group = page / kPagesPerSummaryBit;
        const uint64_t groups = summary_[group / 64].load(std::memory_order_acquire) >> (group % 64);
        if ((groups & 1) != 0) return page;
        if (groups != 0)
            return std::min(page_count_,
                            (group + static_cast<uint64_t>(std::countr_zero(groups))) * kPagesPerSummaryBit);
        page = (page / kPagesPerSummaryWord + 1) * kPagesPerSummaryWord;
    }
    return std::min(page, page_count_);
}

uint64_t DirtyList::count_marks() const {
    uint64_t total = 0;
    uint32_t budget = std::numeric_limits<uint32_t>::max();
    for (uint64_t page = next_candidate(0, budget); page < page_count_; page = next_candidate(page, budget)) {
        const uint64_t end = std::min(page_count_, (page / kPagesPerSummaryBit + 1) * kPagesPerSummaryBit);
        for (; page < end; page = page / 64 * 64 + 64)
            total += static_cast<uint64_t>(std::popcount(word_at(page)));
    }
    return total;
}

void DirtyList::add(const DirtyList& other) {
    std::array<Range, 64> found;
    for (uint64_t cursor = 0; cursor < page_count_;) {
        const size_t count = other.ranges(cursor, found, std::numeric_limits<uint32_t>::max());
        for (const Range& range : std::span(found).first(count))
            for (uint64_t page = range.first_page; page < range.first_page + range.page_count; ++page)
                mark(page);
    }
}

// Bits before their summary: a list cut off in the middle of this still names whatever is marked.
void DirtyList::clear() {
    uint32_t budget = std::numeric_limits<uint32_t>::max();
    for (uint64_t page = next_candidate(0, budget); page < page_count_; page = next_candidate(page, budget)) {
        const uint64_t group = page / kPagesPerSummaryBit;
        const uint64_t end = std::min(page_count_, (group + 1) * kPagesPerSummaryBit);
        for (; page < end; page = page / 64 * 64 + 64)
            bitmap_[page / 64].store(0, std::memory_order_relaxed);
        summary_[group / 64].fetch_and(~(1ULL << (group % 64)), std::memory_order_release);
    }
    count_.store(0, std::memory_order_relaxed);
}

size_t DirtyList::ranges(uint64_t& cursor, std::span<Range> out, uint32_t word_budget) const {
    size_t used = 0;
    word_budget = std::max(word_budget, 2U);
    while (cursor < page_count_ && word_budget != 0) {
        cursor = next_candidate(cursor, word_budget);
        const uint64_t end = std::min(page_count_, (cursor / kPagesPerSummaryBit + 1) * kPagesPerSummaryBit);
        for (; cursor < end && word_budget != 0; --word_budget) {
            const uint64_t first = cursor / 64 * 64;
            for (uint64_t word = word_at(cursor); word != 0;) {
                const auto from = static_cast<uint64_t>(std::countr_zero(word));
                const auto length = static_cast<uint64_t>(std::countr_one(word >> from));
                if (used != 0 && out[used - 1].first_page + out[used - 1].page_count == first + from) {
                    out[used - 1].page_count += length;
                } else if (used == out.size()) {
                    cursor = first + from;
                    return used;
                } else {
                    out[used++] = {first + from, length};
                }
                word &= from + length == 64 ? 0 : ~0ULL << (from + length);
            }
            cursor = std::min(first + 64, page_count_);
        }
    }
    return used;
}

}  // namespace lagan::memory
