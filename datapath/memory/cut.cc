// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/memory/cut.h"

#include <sys/mman.h>

#include <new>
#include <stdexcept>
#include <string>

#include "datapath/memory/frame_budget.h"
#include "datapath/memory/region.h"

namespace lagan::memory {

namespace {

// Committed at once: keep() runs in the poll loop, which must not take page faults.
void* zeroed_memory(size_t bytes) {
    void* memory =
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    return memory;
}

}  // namespace

void Cut::Unmap::operator()(std::atomic<Entry>* entries) const {
    munmap(entries, bytes);
}

Cut::Cut(FramePool& pool, FrameBudget& budget, const DirtyList& drain, uint64_t page_count,
         uint32_t in_flight)
    : pool_(pool),
      budget_(budget),
      drain_(drain),
      page_count_(page_count),
      in_flight_(in_flight),
      leave_(budget.unclaimed() / 2) {
    const size_t bytes = page_count * sizeof(Entry);
    entries_ = {static_cast<std::atomic<Entry>*>(zeroed_memory(bytes)), Unmap{bytes}};
    if (!budget.take_for_cut(in_flight, leave_))
        throw std::runtime_error("no room for a checkpoint's " + std::to_string(in_flight) +
                                 " pages in flight: another checkpoint runs, or regions take all memory");
}

Cut::~Cut() {
    // What was kept and never taken.
    for (uint64_t page = 0; page < page_count_; ++page) {
        const Entry entry = entries_[page].load(std::memory_order_acquire);
        if (entry != kUntouched && entry < kDamagedThen) release({Content::Kind::frame, entry - 1, true});
    }
    budget_.give_for_cut(in_flight_);
}

void Cut::keep(const std::atomic<Pte>& page_entry, uint64_t page) {
    std::atomic<Entry>& entry = entries_[page];
    if (entry.load(std::memory_order_acquire) != kUntouched) return;
    if (settled_.load(std::memory_order_relaxed) && !drain_.is_marked(page)) return;
    // Loaded here, behind the phase: what the caller builds upon may be from before the cut, and have been
    // followed by another lcore's store that belongs to it.
    const Pte before = page_entry.load(std::memory_order_acquire);
    Entry content = kAbsentThen;
    if ((before & kPtePoisoned) != 0) {
        content = kDamagedThen;
    } else if (before != kAbsent) {
        if (broken() || !budget_.take_for_cut(1, leave_))
            return broken_.store(true, std::memory_order_release);
        pool_.add_publication(pte_frame(before));
        content = pte_frame(before) + 1;
    }
    Entry untouched = kUntouched;
    if (entry.compare_exchange_strong(untouched, content, std::memory_order_acq_rel)) return;
    // Another lcore's store was faster, or the checkpoint.
    if (content < kDamagedThen) release({Content::Kind::frame, content - 1, true});
}

Cut::Content Cut::take(const std::atomic<Pte>& page_entry, uint64_t page) {
    const Pte now = page_entry.load(std::memory_order_acquire);
    Content content{Content::Kind::absent, kNoFrame, false};
    if ((now & kPtePoisoned) != 0) {
        content.kind = Content::Kind::damaged;
    } else if (now != kAbsent) {
        content = {Content::Kind::frame, pte_frame(now), false};
        pool_.add_publication(content.frame);
    }
    Entry entry = kUntouched;
    if (entries_[page].compare_exchange_strong(entry, kTaken, std::memory_order_acq_rel)) return content;
    if (content.kind == Content::Kind::frame) release(content);
    // What the first store after the cut has left. Nobody changes the entry any more.
    entries_[page].store(kTaken, std::memory_order_release);
    if (entry == kAbsentThen) return {Content::Kind::absent, kNoFrame, true};
    if (entry == kDamagedThen) return {Content::Kind::damaged, kNoFrame, true};
    return {Content::Kind::frame, entry - 1, true};
}

void Cut::release(const Content& content) {
    if (content.kind != Content::Kind::frame) return;
    pool_.drop_publication(content.frame);
    if (content.was_kept) budget_.give_for_cut(1);
}

}  // namespace lagan::memory
