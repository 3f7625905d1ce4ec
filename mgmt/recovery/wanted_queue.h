// SPDX-License-Identifier: BSD-3-Clause
// Pages that cannot wait for their turn: those that clients ask for, and those that one place cannot give and
// the other one is to be asked for. Any thread adds and takes.
#pragma once

#include <array>
#include <deque>
#include <mutex>
#include <optional>
#include <vector>

#include "datapath/memory/region.h"

namespace lagan::recovery {

class WantedQueue {
  public:
    explicit WantedQueue(memory::Region& region) : region_(region) { region_.wanted->forget_asked(); }

    struct Page {
        uint64_t page;
        bool only_here;  // the other place does not have it, whatever its lists say
    };

    // The next one that is still pending: what clients ask for, oldest first, then what only the source has.
    // Who takes a page and does not bring it has to add it again.
    std::optional<Page> take_for_source() {
        const std::scoped_lock lock(mutex_);
        listen();
        if (const auto page = take(asked_)) return Page{*page, false};
        if (const auto page = take(source_)) return Page{*page, true};
        return {};
    }
    // The same for the baseline: what only it has, then, if `asked` says so, what clients ask for.
    std::optional<Page> take_for_baseline(bool asked) {
        const std::scoped_lock lock(mutex_);
        listen();
        if (const auto page = take(baseline_)) return Page{*page, true};
        if (!asked) return {};
        if (const auto page = take(asked_)) return Page{*page, false};
        return {};
    }

    // It was not brought, and may be had from anywhere.
    void put_back(uint64_t page) { add(asked_, page); }
    void add_for_source(uint64_t page) { add(source_, page); }
    void add_for_baseline(uint64_t page) { add(baseline_, page); }

    // Those that only the source has.
    std::vector<uint64_t> for_source() {
        const std::scoped_lock lock(mutex_);
        std::erase_if(source_, [this](uint64_t page) { return !is_pending(page); });
        return {source_.begin(), source_.end()};
    }
    bool needs_source() {
        const std::scoped_lock lock(mutex_);
        skip(source_);
        return !source_.empty();
    }

  private:
    using Pages = std::deque<uint64_t>;
    bool is_pending(uint64_t page) const {
        return region_.page_table[page].load(std::memory_order_acquire) == memory::kPtePending;
    }
    void add(Pages& pages, uint64_t page) {
        const std::scoped_lock lock(mutex_);
        pages.push_back(page);
    }
    void skip(Pages& pages) const {
        while (!pages.empty() && !is_pending(pages.front()))
            pages.pop_front();
    }
    std::optional<uint64_t> take(Pages& pages) const {
        skip(pages);
        if (pages.empty()) return {};
        const uint64_t page = pages.front();
        pages.pop_front();
        return page;
    }
    void listen() {
        std::array<uint64_t, 64> asked;
        const size_t count = region_.wanted->take(asked);
        asked_.insert(asked_.end(), asked.begin(), asked.begin() + static_cast<std::ptrdiff_t>(count));
    }

    memory::Region& region_;
    std::mutex mutex_;
    Pages asked_, source_, baseline_;  // under mutex_
};

}  // namespace lagan::recovery
