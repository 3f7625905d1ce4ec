// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/memory/region.h"

#include "datapath/memory/frame_budget.h"
#include "datapath/memory/retire_queue.h"

namespace lagan::memory {

// Before the page changes: its mark, and what a checkpoint wants of it.
static void before_change(Region& region, uint64_t page) {
    const Phase& phase = *region.phase.load(std::memory_order_acquire);
    phase.active->mark(page);
    if (phase.cut != nullptr) [[unlikely]]
        phase.cut->keep(region.page_table[page], page);
}

// The bit follows the entry. Another lcore may change both at the same moment: whoever comes last looks
// again.
static void note_presence(Region& region, uint64_t page) {
    std::atomic<uint64_t>& word = region.dirty->present()[page / 64];
    const uint64_t bit = 1ULL << (page % 64);
    bool present;
    do {
        present = !is_empty(region.page_table[page].load());
        if (present) {
            word.fetch_or(bit);
        } else {
            word.fetch_and(~bit);
        }
    } while (present == is_empty(region.page_table[page].load()));
}

// The entry has been replaced.
static void note_settled(Region& region, Pte before) {
    if (before == kPtePending) [[unlikely]]
        region.pending.fetch_sub(1, std::memory_order_release);
}

// The entry is in no page table any more.
static void let_go(const Region& region, RetireQueue& retire, Pte entry) {
    if ((entry & kPtePoisoned) != 0) [[unlikely]]
        region.damaged.fetch_sub(1, std::memory_order_relaxed);
    if (pte_frame(entry) != kNoFrame) retire.retire(pte_frame(entry));
}

// Owner and count of a filled frame: it may be published.
static void sign_frame(const Region& region, FramePool& pool, uint64_t page, FrameIndex frame) {
    FrameMeta& meta = pool.meta(frame);
    meta.region_id = region.id;
    meta.page = static_cast<uint32_t>(page);
    pool.prepare_publication(frame);
}

PublishResult publish_page(Region& region, FramePool& pool, RetireQueue& retire, FrameBudget& budget,
                           uint64_t page, FrameIndex frame, Pte& expected) {
    const bool was_empty = is_empty(expected);
    if (was_empty && !budget.take(region)) return PublishResult::no_frames;

    sign_frame(region, pool, page, frame);
    before_change(region, page);

    const Pte before = expected;
    if (!region.page_table[page].compare_exchange_strong(expected, make_pte(frame), std::memory_order_acq_rel,
                                                         std::memory_order_acquire)) {
        if (was_empty) budget.give(region);
        return PublishResult::changed;
    }
    if (was_empty) {
        note_settled(region, before);
        note_presence(region, page);
    } else {
        let_go(region, retire, before);
    }
    return PublishResult::published;
}

// An empty page becomes what `content` says. Without marks.
static PublishResult fill_page(Region& region, FramePool& pool, FrameBudget& budget, uint64_t page,
                               const Settlement& content, Pte expected) {
    const bool takes = content.kind != Settlement::Kind::absent;
    if (takes && !budget.take(region)) return PublishResult::no_frames;
    Pte entry = content.kind == Settlement::Kind::damaged ? kPtePoisoned : kAbsent;
    if (content.kind == Settlement::Kind::frame) {
        sign_frame(region, pool, page, content.frame);
        entry = make_pte(content.frame);
    }
    // Before a store may take it back.
    if (entry == kPtePoisoned) region.damaged.fetch_add(1, std::memory_order_relaxed);
    const Pte before = expected;
    if (!region.page_table[page].compare_exchange_strong(expected, entry, std::memory_order_acq_rel)) {
        if (entry == kPtePoisoned) region.damaged.fetch_sub(1, std::memory_order_relaxed);
        if (takes) budget.give(region);
        return PublishResult::changed;
    }
    note_settled(region, before);
    if (takes) note_presence(region, page);
    return PublishResult::published;
}

PublishResult install_page(Region& region, FramePool& pool, FrameBudget& budget, uint64_t page,
                           FrameIndex frame) {
    const auto kind = frame == kNoFrame ? Settlement::Kind::damaged : Settlement::Kind::frame;
    return fill_page(region, pool, budget, page, {kind, frame}, kAbsent);
}

PublishResult settle_page(Region& region, FramePool& pool, FrameBudget& budget, uint64_t page,
                          const Settlement& content, bool dirty) {
    if (region.page_table[page].load(std::memory_order_acquire) != kPtePending) return PublishResult::changed;
    if (dirty) region.active().mark(page);
    return fill_page(region, pool, budget, page, content, kPtePending);
}

bool clear_page(Region& region, RetireQueue& retire, FrameBudget& budget, uint64_t page) {
    std::atomic<Pte>& entry = region.page_table[page];
    Pte before = entry.load(std::memory_order_acquire);
    do {
        if (before == kAbsent) return false;
        before_change(region, page);
    } while (!entry.compare_exchange_strong(before, kAbsent, std::memory_order_acq_rel,
                                            std::memory_order_acquire));
    if (before == kPtePending) {  // not present, and counted nowhere
        note_settled(region, before);
        return false;
    }
    note_presence(region, page);
    let_go(region, retire, before);
    budget.give(region);
    return true;
}

bool poison_page(const Region& region, uint64_t page, FrameIndex frame) {
    Pte expected = make_pte(frame);
    region.damaged.fetch_add(1, std::memory_order_relaxed);  // before a store may take it back
    const bool poisoned = region.page_table[page].compare_exchange_strong(
        expected, expected | kPtePoisoned, std::memory_order_acq_rel, std::memory_order_relaxed);
    if (!poisoned) region.damaged.fetch_sub(1, std::memory_order_relaxed);
    return poisoned;
}

}  // namespace lagan::memory
