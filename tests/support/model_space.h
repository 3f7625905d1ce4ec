// SPDX-License-Identifier: BSD-3-Clause
// A model of the kernel and of a program with threads, for the pager's tests: an AddressSpace whose threads
// read and write pages at random and check every value. It behaves as userfaultfd does, in its unpleasant
// ways too:
// - a removal is told first, blocks every fill and protection until it has been read *and* the removing
// thread has run on, and
//   punches its hole some time after that;
// - several threads fault on one page, and events can be out of date when they are read;
// - a fill may be done in part;
// - pages are unmapped, and who waits for one of them is not told.
#pragma once

#include <algorithm>
#include <cstring>
#include <deque>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "client/pager/address_space.h"

namespace lagan::test {

class ModelSpace : public client::pager::AddressSpace {
  public:
    using Status = client::pager::SpaceStatus;
    using Event = client::pager::SpaceEvent;
    using Kind = client::pager::SpaceEventKind;
    using Result = client::pager::FillResult;

    ModelSpace(uint32_t pages, uint32_t threads, std::mt19937_64& random)
        : pages_(pages), threads_(threads), random_(random) {}

    // --- The program
    // -------------------------------------------------------------------------------------------
    struct Habits {
        uint32_t hot_pages;
        uint32_t writes;    // percent
        uint32_t removals;  // per mille
        // Threads touch pages that another one is removing. That is a race of the program's own: until it
        // settles, zeros and what was written meanwhile are both right. Without it, one value is.
        bool racing;
    };
    // One step of one thread that does not wait; false if all of them do.
    bool run_thread(const Habits& habits) {
        const uint32_t start = below(static_cast<uint32_t>(threads_.size()));
        for (uint32_t i = 0; i < threads_.size(); ++i) {
            Thread& thread = threads_[(start + i) % threads_.size()];
            if (thread.waiting) continue;
            if (thread.removing) {
                step_removal(thread);
                return true;
            }
            if (!thread.busy) choose(thread, habits);
            if (thread.busy) access(thread);
            return true;
        }
        return false;
    }
    bool all_idle() const {
        return std::none_of(threads_.begin(), threads_.end(),
                            [](const Thread& thread) { return thread.busy || thread.removing; });
    }
    // Lets every thread come to the end of what it is at, and starts nothing new.
    bool run_to_idle() {
        bool ran = false;
        for (Thread& thread : threads_) {
            if (thread.waiting || !(thread.busy || thread.removing)) continue;
            thread.removing ? step_removal(thread) : access(thread);
            ran = true;
        }
        return ran;
    }

    // A part of the mapping is no longer there. A thread that touches it does nothing more there.
    void unmap(uint32_t first, uint32_t count) {
        for (uint32_t i = first; i < first + count; ++i)
            pages_[i].unmapped = true;
    }

    // Without those that are being removed: nothing can be done about them.
    uint32_t present_pages() const {
        return static_cast<uint32_t>(std::count_if(pages_.begin(), pages_.end(), [](const Page& page) {
            return page.present && page.removing == 0;
        }));
    }
    uint64_t expected(uint32_t page) const { return pages_[page].expected; }
    uint64_t value(uint32_t page) const { return pages_[page].value; }
    bool present(uint32_t page) const { return pages_[page].present; }
    bool unmapped(uint32_t page) const { return pages_[page].unmapped; }
    uint64_t accesses() const { return accesses_; }

    // --- The kernel
    // --------------------------------------------------------------------------------------------
    uint32_t page_count() const override { return static_cast<uint32_t>(pages_.size()); }
    int event_descriptor() const override { return -1; }

    size_t read_events(std::span<Event> out) override {
        size_t count = 0;
        while (count < out.size() && !events_.empty()) {
            const auto [event, thread] = events_.front();
            events_.pop_front();
            if (event.kind == Kind::removed) {
                threads_[thread].waiting = false;  // goes on, some time, and punches the hole
            } else if (!threads_[thread].waiting && below(2) == 0) {
                continue;  // woken meanwhile: the kernel may have taken the event back, or not
            }
            out[count++] = event;
        }
        return count;
    }

    Result fill(uint32_t first, uint32_t count, const void* from, bool writable) override {
        for (uint32_t i = 0; i < count; ++i) {
            if (busy()) return {Status::busy, i};
            if (i > 0 && below(20) == 0) return {Status::busy, i};  // a removal began right here
            Page& page = pages_[first + i];
            if (page.unmapped) return {Status::gone, i};
            if (page.present) return {Status::present, i};
            page.present = true;
            page.protect = !writable;
            std::memcpy(&page.value, static_cast<const std::byte*>(from) + size_t{i} * 4096,
                        sizeof page.value);
            wake(first + i, 1);
        }
        return {Status::ok, count};
    }
    Result fill_zero(uint32_t first, uint32_t count) override {
        for (uint32_t i = 0; i < count; ++i) {
            if (busy()) return {Status::busy, i};
            Page& page = pages_[first + i];
            if (page.unmapped) return {Status::gone, i};
            if (page.present) return {Status::present, i};
            page.present = true;
            page.protect = false;
            page.value = 0;
            wake(first + i, 1);
        }
        return {Status::ok, count};
    }
    Status protect(uint32_t first, uint32_t count) override { return set_protection(first, count, true); }
    Status unprotect(uint32_t first, uint32_t count) override { return set_protection(first, count, false); }
    void wake(uint32_t first, uint32_t count) override {
        for (Thread& thread : threads_) {
            if (thread.waiting && thread.busy && thread.page - first < count) thread.waiting = false;
        }
    }
    void copy_out(uint32_t first, uint32_t count, void* to) override {
        std::memset(to, 0, size_t{count} * 4096);
        for (uint32_t i = 0; i < count; ++i) {
            const Page& page = pages_[first + i];
            if (page.present && !page.protect && !page.unmapped)
                throw std::logic_error("copied out a page that can be written to");
            const uint64_t value = page.present ? page.value : 0;
            std::memcpy(static_cast<std::byte*>(to) + size_t{i} * 4096, &value, sizeof value);
        }
    }
    void drop(uint32_t first, uint32_t count) override {
        for (uint32_t i = first; i < first + count; ++i) {
            if (pages_[i].present && !pages_[i].protect && !pages_[i].unmapped)
                throw std::logic_error("dropped a page that can be written to");
            pages_[i].present = false;
        }
    }

  private:
    struct Page {
        bool present = false, protect = false, unmapped = false;
        uint32_t removing = 0;  // removals announced and not done
        uint64_t value = 0;
        uint64_t expected = 0;  // what the program has written last
        bool raced = false;     // `alternative` is right as well
        uint64_t alternative = 0;
    };
    struct Thread {
        bool waiting = false;   // in the kernel
        bool busy = false;      // has an access to make
        bool removing = false;  // has announced a removal of [page, page + count)
        bool changing = false;  // and not run since its event was read
        bool write = false;
        uint32_t page = 0, count = 0;
        uint64_t value = 0;
    };

    uint32_t below(uint32_t limit) { return static_cast<uint32_t>(random_() % limit); }
    bool busy() {
        if (changes_ == 0) return false;
        // The pager waits in a loop; the threads that remove go on meanwhile.
        for (Thread& thread : threads_) {
            if (thread.removing && !thread.waiting && below(3) == 0) step_removal(thread);
        }
        return true;
    }

    void choose(Thread& thread, const Habits& habits) {
        // A page of a small set, a page anywhere, or the next one.
        const uint32_t dice = below(100);
        uint32_t page = dice < 40 ? thread.page + 1 : below(dice < 80 ? habits.hot_pages : page_count());
        page %= page_count();
        if (below(1000) < habits.removals) {
            const uint32_t count = std::min(page_count() - page, 1 + below(below(4) == 0 ? 40 : 3));
            begin_removal(thread, page, count, habits.racing);
            return;
        }
        if (pages_[page].removing > 0 && !habits.racing) return;
        thread.busy = true;
        thread.page = page;
        thread.write = below(100) < habits.writes;
        // Zeros too: a page of zeros takes another way through the pager.
        thread.value = below(8) == 0 ? 0 : random_();
    }

    void begin_removal(Thread& thread, uint32_t page, uint32_t count, bool racing) {
        for (const Thread& other : threads_) {
            if (!racing && other.busy && other.page - page < count) return;
            if (other.removing && other.page < page + count && page < other.page + other.count) return;
        }
        thread.removing = thread.changing = thread.waiting = true;
        thread.page = page;
        thread.count = count;
        ++changes_;
        for (uint32_t i = page; i < page + count; ++i)
            ++pages_[i].removing;
        events_.push_back({{Kind::removed, false, page, count}, index(thread)});
    }

    void step_removal(Thread& thread) {
        if (thread.changing) {
            thread.changing = false;
            --changes_;
            return;
        }
        for (uint32_t i = thread.page; i < thread.page + thread.count; ++i) {
            Page& page = pages_[i];
            page.present = false;
            page.expected = 0;
            --page.removing;
        }
        thread.removing = false;
    }

    void access(Thread& thread) {
        Page& page = pages_[thread.page];
        if (page.unmapped) {
            thread.busy = false;
            return;
        }
        if (!page.present || (thread.write && page.protect)) {
            thread.waiting = true;
            events_.push_back(
                {{page.present ? Kind::protection : Kind::missing, thread.write, thread.page, 1},
                 index(thread)});
            return;
        }
        ++accesses_;
        thread.busy = false;
        const bool removing = page.removing > 0;
        if (page.value != page.expected && !(removing && page.value == 0) &&
            !(page.raced && page.value == page.alternative)) {
            throw std::runtime_error("wrong bytes in page " + std::to_string(thread.page));
        }
        if (!removing) {
            page.expected = page.value;  // settled
            page.raced = false;
        }
        if (!thread.write) return;
        page.value = page.expected = thread.value;
        if (removing) {
            page.raced = true;
            page.alternative = thread.value;
        }
    }

    Status set_protection(uint32_t first, uint32_t count, bool on) {
        bool any_gone = false;
        for (uint32_t i = first; i < first + count; ++i) {
            if (busy() || (i > first && below(50) == 0)) return Status::busy;
            any_gone |= pages_[i].unmapped;
            if (pages_[i].unmapped) continue;
            pages_[i].protect = on;
            if (!on) wake(i, 1);
        }
        return any_gone ? Status::gone : Status::ok;
    }

    size_t index(const Thread& thread) const { return static_cast<size_t>(&thread - threads_.data()); }

    std::vector<Page> pages_;
    std::vector<Thread> threads_;
    std::mt19937_64& random_;
    std::deque<std::pair<Event, size_t>> events_;
    uint32_t changes_ = 0;
    uint64_t accesses_ = 0;
};

}  // namespace lagan::test
