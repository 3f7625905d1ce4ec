// SPDX-License-Identifier: BSD-3-Clause
// Resident pages, oldest first: the order in which reclaim looks at them. A page is in it at most once
// (PageMap keeps the mark), so that a ring of one entry a page never overflows. A page that went away stays
// until it is popped.
#pragma once

#include <cstdint>
#include <vector>

#include "client/pager/page_map.h"

namespace lagan::client::pager {

class ResidentQueue {
  public:
    explicit ResidentQueue(PageMap& map) : map_(map), ring_(map.page_count()) {}

    uint32_t size() const { return size_; }

    void push(uint32_t page) {
        if (map_.queued(page)) return;
        map_.set_queued(page, true);
        uint64_t at = uint64_t{head_} + size_;
        if (at >= ring_.size()) at -= ring_.size();
        ring_[at] = page;
        ++size_;
    }

    // Only while size() > 0.
    uint32_t pop() {
        const uint32_t page = ring_[head_];
        if (++head_ == ring_.size()) head_ = 0;
        --size_;
        map_.set_queued(page, false);
        return page;
    }

  private:
    PageMap& map_;
    std::vector<uint32_t> ring_;
    uint32_t head_ = 0;
    uint32_t size_ = 0;
};

}  // namespace lagan::client::pager
