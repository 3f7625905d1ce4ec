// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/memory/dirty_list.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <stdexcept>
#include <string>

namespace lagan::memory {

static_assert(std::endian::native == std::endian::little,
              "the dirty list is read over RDMA as little-endian memory");
static_assert(std::atomic<uint64_t>::is_always_lock_free && sizeof(std::atomic<uint64_t>) == 8);
static_assert(sizeof(DirtyListHeader) <= kPageBytes);

namespace {

constexpr uint32_t kVersion = 1;
constexpr uint64_t kPagesPerSummaryWord = 64ULL * kPagesPerSummaryBit;

constexpr uint64_t divide_up(uint64_t value, uint64_t by) {
    return (value + by - 1) / by;
}
constexpr uint64_t round_to_page(uint64_t bytes) {
    return divide_up(bytes, kPageBytes) * kPageBytes;
}
// Both bitmaps start on a page, so that a reader's transfers are aligned.
constexpr uint64_t active_offset(uint64_t pages) {
    return kPageBytes + round_to_page(divide_up(pages, kPagesPerSummaryWord) * 8);
}

}  // namespace

uint64_t DirtyList::bytes_needed(uint64_t page_count) {
    return active_offset(page_count) + round_to_page(divide_up(page_count, 64) * 8);
}

DirtyList::DirtyList(std::span<std::byte> memory, uint64_t region_id, uint64_t page_count, uint64_t epoch)
    : memory_(memory), page_count_(page_count) {
    if (page_count == 0 || page_count > kMaxRegionPages || memory.size() < bytes_needed(page_count) ||
        reinterpret_cast<uintptr_t>(memory.data()) % alignof(DirtyListHeader) != 0)
        throw std::runtime_error("dirty list of region " + std::to_string(region_id) + ": " +
                                 std::to_string(memory.size()) + " bytes do not fit " +
                                 std::to_string(page_count) + " pages");
    memory_ = memory.first(bytes_needed(page_count));
    summary_ = reinterpret_cast<std::atomic<uint64_t>*>(memory_.data() + kPageBytes);
    active_ = reinterpret_cast<std::atomic<uint64_t>*>(memory_.data() + active_offset(page_count));
    if (header().magic == 0) {
        format(region_id, epoch);
    } else {
        check(region_id);
        count_ = count_marks();
        header().epoch.store(epoch, std::memory_order_release);
    }
}

void DirtyList::format(uint64_t region_id, uint64_t epoch) {
    DirtyListHeader& h = header();
    h.version = kVersion;
    h.page_bytes = kPageBytes;
    h.region_id = region_id;
    h.page_count = page_count_;
    h.epoch.store(epoch, std::memory_order_relaxed);
    h.cut_number.store(0, std::memory_order_relaxed);
    h.summary_offset = kPageBytes;
    h.active_offset = active_offset(page_count_);
    // Last: a list with its magic is a whole one, also after a kill in the middle of this.
    std::atomic_ref<uint64_t>(h.magic).store(kDirtyListMagic, std::memory_order_release);
}

void DirtyList::check(uint64_t region_id) const {
    const auto& h = *reinterpret_cast<const DirtyListHeader*>(memory_.data());
    if (h.magic == kDirtyListMagic && h.version == kVersion && h.page_bytes == kPageBytes &&
        h.region_id == region_id && h.page_count == page_count_ && h.summary_offset == kPageBytes &&
        h.active_offset == active_offset(page_count_))
        return;
    throw std::runtime_error("dirty list of region " + std::to_string(region_id) +
                             ": the memory holds something else (magic, version, region or size differ)");
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
    uint64_t word = active_[page / 64].load(std::memory_order_acquire) & (~0ULL << (page % 64));
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
