// SPDX-License-Identifier: BSD-3-Clause
#include "client/pager/free_list.h"

#include <algorithm>

namespace lagan::client::pager {

void FreeList::add(uint32_t page) {
    if (map_.free_pending(page)) return;
    map_.set_free_pending(page, true);
    pages_.push_back(page);
}

uint32_t FreeList::flush(PageStore& store, uint64_t cookie) {
    // A page that was cancelled and added again is there twice.
    std::sort(pages_.begin(), pages_.end());
    pages_.erase(std::unique(pages_.begin(), pages_.end()), pages_.end());
    std::erase_if(pages_, [this](uint32_t page) { return !map_.free_pending(page); });

    uint32_t sent = 0;
    size_t at = 0;
    while (at < pages_.size()) {
        uint32_t count = 1;
        while (at + count < pages_.size() && pages_[at + count] == pages_[at] + count)
            ++count;
        if (!store.free_pages(cookie, pages_[at], count)) break;
        for (uint32_t i = 0; i < count; ++i)
            map_.set_free_pending(pages_[at + i], false);
        at += count;
        sent += count;
    }
    pages_.erase(pages_.begin(), pages_.begin() + static_cast<std::ptrdiff_t>(at));
    return sent;
}

}  // namespace lagan::client::pager
