// SPDX-License-Identifier: BSD-3-Clause
// Pages that cannot wait for their turn: those that clients ask for, and those that one place does not have
// and the other one is to be asked for. Any thread adds and takes.
#pragma once

#include <array>
#include <deque>
#include <mutex>
#include <optional>

#include "datapath/memory/region.h"

namespace lagan::recovery {

class WantedQueue {
  public:
    explicit WantedQueue(memory::Region& region) : region_(region) {}

    struct Page {
        uint64_t page;
        bool dirty;  // the baseline does not have it, whatever the lists say
    };
    void add(Page page) {
        const std::scoped_lock lock(mutex_);
        pages_.push_back(page);
    }
    // The oldest that is still pending. Who takes a page and does not bring it has to add it again.
    std::optional<Page> take() {
        const std::scoped_lock lock(mutex_);
        if (pages_.empty()) listen();
        while (!pages_.empty()) {
            const Page page = pages_.front();
            pages_.pop_front();
            if (region_.page_table[page.page].load(std::memory_order_acquire) == memory::kPtePending)
                return page;
        }
        return {};
    }

    bool empty() {
        const std::scoped_lock lock(mutex_);
        if (pages_.empty()) listen();
        return pages_.empty();
    }

  private:
    void listen() {
        std::array<uint64_t, 64> asked;
        const size_t count = region_.wanted->take(asked);
        for (size_t i = 0; i < count; ++i)
            pages_.push_back({asked[i], false});
    }

    memory::Region& region_;
    std::mutex mutex_;
    std::deque<Page> pages_;  // under mutex_
};

}  // namespace lagan::recovery
