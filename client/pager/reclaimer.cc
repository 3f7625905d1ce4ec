// SPDX-License-Identifier: BSD-3-Clause
#include "client/pager/reclaimer.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>

namespace lagan::client::pager {

namespace {

bool all_zero(const std::byte* page) {
    // Most pages differ in their first bytes; the rest is one comparison of the page with itself, shifted.
    return page[0] == std::byte{0} && std::memcmp(page, page + 1, kPageBytes - 1) == 0;
}

// The length of the run of neighbours that starts at pages[0] and for which `same` holds.
template <typename Predicate>
uint32_t run_length(std::span<const uint32_t> pages, Predicate same) {
    uint32_t count = 0;
    while (count < pages.size() && pages[count] == pages[0] + count && same(pages[count]))
        ++count;
    return count;
}

}  // namespace

Reclaimer::Reclaimer(PageMap& map, ResidentQueue& queue, FreeList& frees, PageStore& store,
                     uint32_t limit_pages, uint64_t cookie_base, std::function<void()> drain)
    : map_(map),
      queue_(queue),
      frees_(frees),
      store_(store),
      cookie_base_(cookie_base),
      drain_(std::move(drain)),
      limit_pages_(limit_pages),
      low_free_(std::clamp(limit_pages / 32, 16u, 1024u)),
      high_free_(2 * low_free_),
      buffers_(std::make_unique_for_overwrite<std::byte[]>(kBufferBytes)) {
    store_.register_memory(std::span(buffers_.get(), kBufferBytes));
}

void Reclaimer::attach(AddressSpace* space) {
    space_ = space;
    for (Batch& batch : batches_) {
        batch.busy = false;
        batch.count = 0;
        batch.unsent = 0;
    }
    batches_busy_ = 0;
    pages_in_batches_ = 0;
    reclaiming_ = false;
}

// How many more pages to take, with hysteresis: from the low watermark of free pages up to the high one.
uint32_t Reclaimer::wanted_pages() const {
    const uint32_t target = reclaiming_ ? high_free_ : low_free_;
    const uint32_t ceiling = limit_pages_ - std::min(limit_pages_, target);
    const uint32_t going = std::min(pages_in_batches_, map_.committed());
    const uint32_t staying = map_.committed() - going;
    return staying > ceiling ? staying - ceiling : 0;
}

bool Reclaimer::run() {
    bool did_something = false;
    for (uint32_t number = 0; number < kBatches; ++number) {
        if (batches_[number].unsent != 0) did_something |= send(number);
    }
    if (wanted_pages() == 0) {
        reclaiming_ = false;
        return did_something;
    }
    reclaiming_ = true;
    for (uint32_t number = 0; number < kBatches; ++number) {
        const uint32_t wanted = wanted_pages();
        if (wanted == 0) break;
        Batch& batch = batches_[number];
        if (batch.busy) continue;
        collect(batch, std::min(wanted, kBatchPages));
        if (batch.count == 0) break;
        did_something = true;
        start(number);
    }
    return did_something;
}

void Reclaimer::collect(Batch& batch, uint32_t wanted) {
    batch.count = 0;
    for (uint32_t looked_at = queue_.size(); looked_at > 0 && batch.count < wanted; --looked_at) {
        const uint32_t page = queue_.pop();
        const PageState state = map_.state(page);
        if (state == PageState::local || state == PageState::cached || state == PageState::zero) {
            batch.pages[batch.count++] = page;
        } else if (is_resident(state)) {
            queue_.push(page);  // its store is outstanding
        }
    }
    std::sort(batch.pages.begin(), batch.pages.begin() + batch.count);
}

void Reclaimer::start(uint32_t number) {
    Batch& batch = batches_[number];
    batch.busy = true;
    ++batches_busy_;
    pages_in_batches_ += batch.count;
    const auto is_local = [this](uint32_t page) { return map_.state(page) == PageState::local; };
    const std::span<const uint32_t> pages(batch.pages.data(), batch.count);
    for (uint32_t at = 0; at < batch.count;) {
        const uint32_t count = run_length(pages.subspan(at), is_local);
        if (count == 0) {
            ++at;
            continue;
        }
        const SpaceStatus status = space_->protect(pages[at], count);
        if (status == SpaceStatus::busy) {
            drain_();  // and look at the states again
            continue;
        }
        prepare_run(number, at, count);  // what is no longer mapped goes the same way: nobody writes to it
        at += count;
    }
    send(number);
}

// The pages [first, first + count) of the batch are neighbours, local and now protected.
void Reclaimer::prepare_run(uint32_t number, uint32_t first, uint32_t count) {
    Batch& batch = batches_[number];
    space_->copy_out(batch.pages[first], count, buffer(number, first));
    for (uint32_t i = first; i < first + count; ++i) {
        if (all_zero(buffer(number, i))) {
            map_.set_state(batch.pages[i], PageState::zero);  // a pending free stays pending
            continue;
        }
        map_.set_state(batch.pages[i], PageState::storing);
        batch.unsent |= uint64_t{1} << i;
    }
}

// Sends what the store has room for. True if anything was sent or turned out to be needless.
bool Reclaimer::send(uint32_t number) {
    Batch& batch = batches_[number];
    bool progress = false;
    while (batch.unsent != 0) {
        const auto i = static_cast<uint32_t>(std::countr_zero(batch.unsent));
        const uint32_t page = batch.pages[i];
        const PageState state = map_.state(page);
        if (state == PageState::storing) {
            if (outstanding_ >= kMaxOutstanding ||
                !store_.store_page(cookie_base_ | uint64_t{number} * kBatchPages | i, page,
                                   buffer(number, i))) {
                return progress;
            }
            frees_.cancel(page);
            ++batch.outstanding;
            ++outstanding_;
            ++stores_;
        } else {
            // Written or given up before it was sent: the appliance has not heard of it.
            map_.set_state(page, state == PageState::storing_written ? PageState::local : PageState::empty);
        }
        batch.unsent &= batch.unsent - 1;
        progress = true;
    }
    finish_if_done(batch);
    return true;
}

void Reclaimer::finish_if_done(Batch& batch) {
    if (batch.outstanding == 0 && batch.unsent == 0) finish(batch);
}

void Reclaimer::stored(uint64_t cookie) {
    Batch& batch = batches_[(cookie & 0xffff) / kBatchPages];
    const uint32_t page = batch.pages[cookie % kBatchPages];
    switch (map_.state(page)) {
        case PageState::storing:
            map_.set_state(page, PageState::cached);
            break;
        case PageState::storing_written:
            map_.set_state(page, PageState::local);
            frees_.add(page);
            break;
        default:  // storing_removed: no other state has a store outstanding
            map_.set_state(page, PageState::empty);
            frees_.add(page);
            break;
    }
    --outstanding_;
    --batch.outstanding;
    finish_if_done(batch);
}

void Reclaimer::finish(Batch& batch) {
    const auto droppable = [this](uint32_t page) {
        const PageState state = map_.state(page);
        return state == PageState::cached || state == PageState::zero;
    };
    const std::span<const uint32_t> pages(batch.pages.data(), batch.count);
    for (uint32_t at = 0; at < batch.count;) {
        const uint32_t count = run_length(pages.subspan(at), droppable);
        if (count == 0) {
            if (is_resident(map_.state(pages[at]))) queue_.push(pages[at]);
            ++at;
            continue;
        }
        space_->drop(pages[at], count);
        for (uint32_t page = pages[at]; page < pages[at] + count; ++page) {
            map_.set_state(page, map_.state(page) == PageState::zero ? PageState::empty : PageState::remote);
        }
        at += count;
    }
    batch.busy = false;
    --batches_busy_;
    pages_in_batches_ -= batch.count;
}

}  // namespace lagan::client::pager
