// SPDX-License-Identifier: BSD-3-Clause
// Pages whose copy at the appliance is out of date, collected so that one capsule frees many.
//
// The hazard: a FREE that is sent late must not free a page that has been stored again since. Two rules keep
// it away: a page that is about to be stored leaves the list (`cancel`: the store replaces the old copy
// anyway), and PageStore carries out a free that it has accepted before any store accepted after it.
#pragma once

#include <cstdint>
#include <vector>

#include "client/page_store.h"
#include "client/pager/page_map.h"

namespace lagan::client::pager {

class FreeList {
  public:
    explicit FreeList(PageMap& map) : map_(map) {}

    void add(uint32_t page);
    void cancel(uint32_t page) { map_.set_free_pending(page, false); }

    // Entries, cancelled ones included.
    size_t size() const { return pages_.size(); }

    // Sends what is collected as ranges. What the store has no room for stays. Returns the number of pages
    // sent.
    uint32_t flush(PageStore& store, uint64_t cookie);

  private:
    PageMap& map_;
    std::vector<uint32_t> pages_;
};

}  // namespace lagan::client::pager
