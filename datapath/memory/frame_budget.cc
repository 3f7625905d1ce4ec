// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/memory/frame_budget.h"

#include <algorithm>

namespace lagan::memory {

FrameBudget::FrameBudget(uint64_t usable_frames, uint64_t cut_frames)
    : usable_(usable_frames), cut_frames_(cut_frames), unclaimed_(usable_frames) {}

uint64_t FrameBudget::unclaimed() const {
    const uint64_t left = unclaimed_.load(std::memory_order_relaxed);
    const uint64_t kept = kept_for_cuts();
    return left > kept ? left - kept : 0;
}

uint64_t FrameBudget::kept_for_cuts() const {
    const uint64_t held = held_by_cuts_.load(std::memory_order_relaxed);
    return cut_frames_ > held ? cut_frames_ - held : 0;
}

bool FrameBudget::claim(uint64_t frames, uint64_t leave) {
    uint64_t left = unclaimed_.load(std::memory_order_relaxed);
    do {
        if (left < leave || left - leave < frames) return false;
    } while (!unclaimed_.compare_exchange_weak(left, left - frames, std::memory_order_relaxed));
    return true;
}

bool FrameBudget::reserve(uint64_t pages) {
    return claim(pages, kept_for_cuts());
}

void FrameBudget::unreserve(uint64_t pages) {
    unclaimed_.fetch_add(pages, std::memory_order_relaxed);
}

bool FrameBudget::restore(Region& region, uint64_t pages) {
    if (!claim(std::max(pages, region.reserve_pages), 0)) return false;
    region.present.store(pages, std::memory_order_relaxed);
    return true;
}

bool FrameBudget::take(Region& region) {
    // Each step of `present` across the reserve is paired with exactly one unclaimed frame, also when lcores
    // race: hence the claim before the exchange, and not a count that is taken back when the claim fails.
    uint64_t present = region.present.load(std::memory_order_relaxed);
    for (;;) {
        const bool above = present >= region.reserve_pages;
        if (above && !claim(1, kept_for_cuts())) return false;
        if (region.present.compare_exchange_weak(present, present + 1, std::memory_order_relaxed))
            return true;
        if (above) unreserve(1);
    }
}

void FrameBudget::give(Region& region) {
    if (region.present.fetch_sub(1, std::memory_order_relaxed) > region.reserve_pages) unreserve(1);
}

bool FrameBudget::take_for_cut(uint64_t frames, uint64_t leave) {
    if (!claim(frames, leave)) return false;
    held_by_cuts_.fetch_add(frames, std::memory_order_relaxed);
    return true;
}

void FrameBudget::give_for_cut(uint64_t frames) {
    held_by_cuts_.fetch_sub(frames, std::memory_order_relaxed);
    unreserve(frames);
}

}  // namespace lagan::memory
