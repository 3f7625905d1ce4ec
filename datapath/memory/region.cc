// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/memory/region.h"

#include "datapath/memory/frame_budget.h"
#include "datapath/memory/retire_queue.h"

namespace lagan::memory {

PublishResult publish_page(Region& region, FramePool& pool, RetireQueue& retire, FrameBudget& budget,
                           uint64_t page, FrameIndex frame, Pte& expected) {
    const bool was_absent = expected == kAbsent;
    if (was_absent && !budget.take(region)) return PublishResult::no_frames;

    FrameMeta& meta = pool.meta(frame);
    meta.region_id = region.id;
    meta.page = static_cast<uint32_t>(page);
    pool.prepare_publication(frame);
    region.active->mark(page);

    const Pte before = expected;
    if (!region.page_table[page].compare_exchange_strong(expected, make_pte(frame), std::memory_order_acq_rel,
                                                         std::memory_order_acquire)) {
        if (was_absent) budget.give(region);
        return PublishResult::changed;
    }
    if (!was_absent) retire.retire(pte_frame(before));
    return PublishResult::published;
}

bool clear_page(Region& region, RetireQueue& retire, FrameBudget& budget, uint64_t page) {
    std::atomic<Pte>& entry = region.page_table[page];
    if (entry.load(std::memory_order_relaxed) == kAbsent) return false;
    region.active->mark(page);
    const Pte before = entry.exchange(kAbsent, std::memory_order_acq_rel);
    if (before == kAbsent) return false;  // another lcore cleared it in between
    retire.retire(pte_frame(before));
    budget.give(region);
    return true;
}

}  // namespace lagan::memory
