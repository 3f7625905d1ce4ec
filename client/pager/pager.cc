// SPDX-License-Identifier: BSD-3-Clause
#include "client/pager/pager.h"

#include <sched.h>

#include <algorithm>
#include <stdexcept>

namespace lagan::client::pager {

Pager::Pager(PageStore& store, PagerOptions options)
    : store_(store),
      options_(options),
      limit_pages_(
          static_cast<uint32_t>(std::min<uint64_t>(options.local_memory_bytes / kPageBytes, UINT32_MAX))),
      map_(static_cast<uint32_t>(std::min<uint64_t>(store.page_count(), UINT32_MAX))),
      queue_(map_),
      frees_(map_),
      reclaimer_(map_, queue_, frees_, store, limit_pages_, cookie_base(Operation::store),
                 [this] { wait_for_removal(); }),
      buffers_(std::make_unique_for_overwrite<std::byte[]>(kBufferBytes)) {
    if (options.local_memory_bytes < kMinLocalMemoryBytes) {
        throw std::invalid_argument("local memory must be at least 1 MiB");
    }
    std::byte* buffer = buffers_.get();
    store.register_memory(std::span(buffer, kBufferBytes));
    for (uint32_t i = 0; i < slots_.size(); ++i) {
        const bool single = i < kSingleSlots;
        slots_[i] = {0, 0, buffer};
        buffer += size_t{single ? 1 : kRunPages} * kPageBytes;
        (single ? free_single_slots_ : free_run_slots_).push_back(i);
    }
}

void Pager::attach(std::unique_ptr<AddressSpace> space, const std::function<void()>& while_waiting) {
    if (space->page_count() > map_.page_count()) {
        throw std::runtime_error("the program's mapping is larger than the region");
    }
    if (space_) {
        const auto settle = [&] {
            while (store_.outstanding() > 0) {
                poll_store();
                if (while_waiting) while_waiting();
            }
            if (!store_.connected()) throw std::runtime_error(store_.failure());
        };
        settle();
        faults_.clear();  // only now: settling may read events of the old space
        for (uint32_t page = 0; page < map_.page_count(); ++page) {
            const PageState state = map_.state(page);
            if (state == PageState::remote || state == PageState::cached) frees_.add(page);
            map_.set_state(page, PageState::empty);
        }
        while (frees_.size() > 0) {
            stats_.pages_freed += frees_.flush(store_, cookie_base(Operation::free));
            settle();
        }
    }
    space_ = std::move(space);
    reclaimer_.attach(space_.get());
}

bool Pager::step() {
    if (!store_.connected()) throw std::runtime_error(store_.failure());
    bool busy = poll_store();
    if (!space_) return busy;
    busy |= drain_events();
    busy |= serve_faults();
    busy |= reclaimer_.run();
    busy |= flush_frees();
    return busy;
}

bool Pager::quiet() const {
    return store_.outstanding() == 0 && faults_.empty() && frees_.size() == 0 && reclaimer_.idle();
}

PagerStats Pager::stats() const {
    PagerStats stats = stats_;
    stats.pages_stored = reclaimer_.stores();
    stats.resident_pages = map_.resident();
    stats.waiting_faults = static_cast<uint32_t>(faults_.size());
    return stats;
}

// Reads what has happened in the program. Faults are kept for later, removals are applied at once: until
// their events are read, everything else is refused as busy.
bool Pager::drain_events() {
    std::array<SpaceEvent, 64> events;
    bool any = false;
    for (;;) {
        const size_t count = space_->read_events(events);
        for (const SpaceEvent& event : std::span(events).first(count)) {
            if (event.page >= map_.page_count() || event.count > map_.page_count() - event.page) continue;
            if (event.kind == SpaceEventKind::removed) {
                apply_removal(event.page, event.count);
            } else {
                ++stats_.faults;
                faults_.push_back({event.page, event.write, event.kind == SpaceEventKind::protection});
            }
        }
        any |= count > 0;
        if (count < events.size()) return any;
    }
}

void Pager::apply_removal(uint32_t first, uint32_t count) {
    for (uint32_t page = first; page < first + count; ++page) {
        switch (map_.state(page)) {
            case PageState::empty:
            case PageState::storing_removed:
            case PageState::reading_removed:
                continue;
            case PageState::remote:
            case PageState::cached:
                frees_.add(page);
                map_.set_state(page, PageState::empty);
                break;
            case PageState::zero:
            case PageState::local:
                map_.set_state(page, PageState::empty);
                break;
            case PageState::reading:
            case PageState::reading_write:
                map_.set_state(page, PageState::reading_removed);
                break;
            case PageState::storing:
            case PageState::storing_written:
                map_.set_state(page, PageState::storing_removed);
                break;
        }
        ++stats_.pages_removed;
    }
}

bool Pager::serve_faults() {
    bool served = false;
    for (size_t count = faults_.size(); count > 0; --count) {
        const Fault fault = faults_.front();
        faults_.pop_front();
        if (serve(fault)) {
            served = true;
        } else {
            faults_.push_back(fault);
        }
    }
    return served;
}

bool Pager::serve(const Fault& fault) {
    switch (map_.state(fault.page)) {
        case PageState::empty:
        case PageState::remote:
        case PageState::storing_removed:
            return serve_absent(fault);
        case PageState::reading:
            if (fault.write || fault.protection) map_.set_state(fault.page, PageState::reading_write);
            return true;
        case PageState::reading_write:
        case PageState::reading_removed:
            return true;  // woken when the READ is done
        case PageState::zero:
        case PageState::cached:
        case PageState::local:
        case PageState::storing:
        case PageState::storing_written:
            fault.protection ? allow_write(fault) : refill_lost(fault);
            return true;
    }
    return true;
}

bool Pager::serve_absent(const Fault& fault) {
    if (!has_room(1)) return false;
    const bool write = fault.write || fault.protection;
    const bool remote = map_.state(fault.page) == PageState::remote;
    if (remote && !read_run(free_single_slots_, fault.page, 1, write)) return false;
    // What is fetched ahead must not make a thread wait for room.
    const uint32_t room = limit_pages_ - std::min(limit_pages_, map_.committed() + 1 + limit_pages_ / 64);
    StreamDetector::Advice advice = streams_.on_fault(fault.page);
    advice.pages = options_.prefetch ? std::min(advice.pages, room) : 0;
    if (remote) {
        prefetch(fault.page, advice, write);
    } else {
        fill_zeros(fault.page, advice);
    }
    return true;
}

// How many pages beside `page`, in the direction advised, are in `state`, at most as many as advised.
uint32_t Pager::neighbours(uint32_t page, StreamDetector::Advice advice, PageState state) const {
    const uint32_t edge = advice.direction > 0 ? space_->page_count() - 1 - page : page;
    const uint32_t most = std::min(advice.pages, edge);
    uint32_t count = 0;
    while (count < most) {
        const uint32_t next = advice.direction > 0 ? page + count + 1 : page - count - 1;
        if (map_.state(next) != state) break;
        ++count;
    }
    return count;
}

void Pager::prefetch(uint32_t page, StreamDetector::Advice advice, bool write) {
    const uint32_t count = neighbours(page, advice, PageState::remote);
    if (count == 0) return;
    const uint32_t first = advice.direction > 0 ? page + 1 : page - count;
    if (read_run(free_run_slots_, first, count, write)) stats_.pages_prefetched += count;
}

bool Pager::read_run(std::vector<uint32_t>& slots, uint32_t page, uint32_t count, bool write) {
    if (slots.empty()) return false;
    const uint32_t number = slots.back();
    ReadSlot& slot = slots_[number];
    if (!store_.read(cookie_base(Operation::read) | number, uint64_t{page} * kPageBytes, slot.buffer,
                     count * kPageBytes)) {
        return false;
    }
    slots.pop_back();
    slot.page = page;
    slot.count = count;
    for (uint32_t i = page; i < page + count; ++i) {
        const bool will_write = write || map_.take_write_prediction(i);
        map_.set_state(i, will_write ? PageState::reading_write : PageState::reading);
    }
    stats_.pages_read += count;
    return true;
}

// First touch of `page`, and of its neighbours if the program is walking.
void Pager::fill_zeros(uint32_t page, StreamDetector::Advice advice) {
    uint32_t count = 1 + neighbours(page, advice, PageState::empty);
    uint32_t at = advice.direction > 0 ? page : page + 1 - count;
    while (count > 0) {
        const FillResult result = space_->fill_zero(at, count);
        for (uint32_t i = 0; i < result.done; ++i, ++at, --count) {
            const bool store_outstanding = map_.state(at) == PageState::storing_removed;
            map_.set_state(at, store_outstanding ? PageState::storing_written : PageState::local);
            queue_.push(at);
            ++stats_.zero_fills;
        }
        note_peak();
        if (result.status == SpaceStatus::busy) wait_for_removal();  // only makes more pages empty
        if (result.status == SpaceStatus::present || result.status == SpaceStatus::gone) {
            // A removal whose event has been read and whose hole is not punched yet; or unmapped meanwhile,
            // which the thread that waits finds out by itself. The pages behind it may well be there.
            space_->wake(at, 1);
            ++at;
            --count;
        }
    }
}

// A fault says that a page is missing which we take for resident. Nearly always another thread's fault has
// been served meanwhile. If the page is really missing, a removal has taken it (rule 3).
void Pager::refill_lost(const Fault& fault) {
    const FillResult result = space_->fill_zero(fault.page, 1);
    if (result.status == SpaceStatus::present || result.status == SpaceStatus::gone) {
        space_->wake(fault.page, 1);
    }
    if (result.status == SpaceStatus::busy) {
        wait_for_removal();
        faults_.push_back(fault);
    }
    if (result.status == SpaceStatus::ok) now_written(fault.page);
}

// Takes the protection away, also from the pages that a walk through memory will write to next.
void Pager::allow_write(const Fault& fault) {
    StreamDetector::Advice advice = write_streams_.on_fault(fault.page);
    if (!options_.prefetch) advice.pages = 0;
    const uint32_t count = 1 + neighbours(fault.page, advice, PageState::cached);
    const uint32_t first = advice.direction > 0 ? fault.page : fault.page + 1 - count;
    // Before it is done, because some may have been done when the space says that it is busy. Taking a page
    // for written that is still protected costs a store; the other way round costs what was written.
    for (uint32_t page = first; page < first + count; ++page)
        now_written(page);
    const SpaceStatus status = space_->unprotect(first, count);
    if (status == SpaceStatus::gone) space_->wake(first, count);
    if (status == SpaceStatus::busy) {
        wait_for_removal();
        faults_.push_back(fault);
    }
}

// A resident page becomes writable.
void Pager::now_written(uint32_t page) {
    switch (map_.state(page)) {
        case PageState::cached:
            frees_.add(page);
            map_.predict_writes(page);
            map_.set_state(page, PageState::local);
            break;
        case PageState::zero:
            map_.set_state(page, PageState::local);
            break;
        case PageState::storing:
            map_.set_state(page, PageState::storing_written);
            break;
        default:
            break;
    }
}

bool Pager::poll_store() {
    std::array<Completion, 64> completions;
    const size_t count = store_.poll(completions);
    for (const Completion& completion : std::span(completions).first(count)) {
        const auto operation = static_cast<Operation>(completion.cookie >> 56);
        if (completion.status != CompletionStatus::success) {
            const char* what = operation == Operation::read    ? "a READ"
                               : operation == Operation::store ? "a store"
                                                               : "a FREE";
            throw std::runtime_error(std::string("the appliance did not carry out ") + what + ": " +
                                     (store_.connected() ? to_string(completion.status) : store_.failure()));
        }
        if (operation == Operation::read) complete_read(static_cast<uint32_t>(completion.cookie & 0xffff));
        if (operation == Operation::store) reclaimer_.stored(completion.cookie);
    }
    return count > 0;
}

void Pager::complete_read(uint32_t number) {
    const ReadSlot slot = slots_[number];
    const uint32_t end = slot.page + slot.count;
    for (uint32_t page = slot.page; page < end;) {
        const PageState state = map_.state(page);
        if (state == PageState::reading_removed) {
            map_.set_state(page, PageState::empty);
            frees_.add(page);
            space_->wake(page, 1);  // whoever waited faults again, and gets zeros
            ++page;
            continue;
        }
        uint32_t count = 1;
        while (page + count < end && map_.state(page + count) == state)
            ++count;
        const bool write = state == PageState::reading_write;
        const FillResult result =
            space_->fill(page, count, slot.buffer + size_t{page - slot.page} * kPageBytes, write);
        for (uint32_t i = 0; i < result.done; ++i, ++page) {
            map_.set_state(page, write ? PageState::local : PageState::cached);
            queue_.push(page);
            if (write) frees_.add(page);
        }
        if (result.status == SpaceStatus::busy) wait_for_removal();  // and look at the states again
        if (result.status == SpaceStatus::present) {
            // Cannot come from what we do; what the program sees is the truth then.
            map_.set_state(page, PageState::local);
            queue_.push(page);
            frees_.add(page);
            space_->wake(page, 1);
            ++page;
        }
        if (result.status == SpaceStatus::gone) {
            map_.set_state(page, PageState::empty);  // nobody can reach it any more
            frees_.add(page);
            space_->wake(page, 1);
            ++page;
        }
    }
    note_peak();
    (number < kSingleSlots ? free_single_slots_ : free_run_slots_).push_back(number);
}

bool Pager::flush_frees() {
    if (frees_.size() == 0) return false;
    if (++turns_since_flush_ < kTurnsBeforeFlush && frees_.size() < kFreesAtOnce) return false;
    turns_since_flush_ = 0;
    const uint32_t sent = frees_.flush(store_, cookie_base(Operation::free));
    stats_.pages_freed += sent;
    return sent > 0;
}

// The event has to be read, and then the thread that removes has to run, before the space is no longer busy.
void Pager::wait_for_removal() {
    if (!drain_events()) sched_yield();
}

void Pager::note_peak() {
    stats_.peak_resident_pages = std::max(stats_.peak_resident_pages, map_.resident());
}

}  // namespace lagan::client::pager
