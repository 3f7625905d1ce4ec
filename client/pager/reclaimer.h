// SPDX-License-Identifier: BSD-3-Clause
// Keeps local memory under its limit, in the background. Between two watermarks of free pages it takes the
// pages that have been resident longest, a batch at a time: protect (in runs of neighbours), copy out, store,
// wait for all acknowledgements of the batch, drop (in runs). Every step looks at the page's state again;
// whatever happened to a page meanwhile (a write, a removal) has changed its state, and the page is left
// alone.
//
// Invariant: a page has at most one store under way, because only a `local` page is taken for one, and it is
// `storing`, `storing_written` or `storing_removed` until the acknowledgement (or until it turns out before
// sending that there is nothing to store any more).
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>

#include "client/page_store.h"
#include "client/pager/address_space.h"
#include "client/pager/free_list.h"
#include "client/pager/page_map.h"
#include "client/pager/resident_queue.h"

namespace lagan::client::pager {

class Reclaimer {
  public:
    static constexpr uint32_t kBatchPages = 64;
    static constexpr uint32_t kBatches = 4;
    // A READ that a thread waits for queues behind no more stores than these.
    static constexpr uint32_t kMaxOutstanding = 64;

    // `drain` reads the space's events and applies removals; called when the space is busy. `cookie_base` is
    // or-ed into the cookies of stores; the low 16 bits are ours.
    Reclaimer(PageMap& map, ResidentQueue& queue, FreeList& frees, PageStore& store, uint32_t limit_pages,
              uint64_t cookie_base, std::function<void()> drain);

    // Works on this space from now on. No store may be outstanding; what was prepared and not sent is
    // dropped, and its pages are no longer ours.
    void attach(AddressSpace* space);

    // Starts what can be started. True if it did something. Throws std::runtime_error if the space does.
    bool run();
    // The store with this cookie (low 16 bits) has been acknowledged.
    void stored(uint64_t cookie);

    // No batch under way.
    bool idle() const { return batches_busy_ == 0; }
    uint64_t stores() const { return stores_; }

  private:
    static constexpr size_t kBufferBytes = size_t{kBatches} * kBatchPages * kPageBytes;

    struct Batch {
        bool busy = false;
        uint32_t count = 0;
        uint32_t outstanding = 0;                 // stores sent and not acknowledged
        uint64_t unsent = 0;                      // a bit a page: protected and copied out, still to be sent
        std::array<uint32_t, kBatchPages> pages;  // ascending
    };

    uint32_t wanted_pages() const;
    void collect(Batch& batch, uint32_t wanted);
    void start(uint32_t number);
    void prepare_run(uint32_t number, uint32_t first, uint32_t count);
    bool send(uint32_t number);
    void finish_if_done(Batch& batch);
    void finish(Batch& batch);
    std::byte* buffer(uint32_t number, uint32_t index) {
        return buffers_.get() + (size_t{number} * kBatchPages + index) * kPageBytes;
    }

    PageMap& map_;
    ResidentQueue& queue_;
    FreeList& frees_;
    PageStore& store_;
    AddressSpace* space_ = nullptr;
    uint64_t cookie_base_;
    std::function<void()> drain_;
    uint32_t limit_pages_;
    uint32_t low_free_, high_free_;
    bool reclaiming_ = false;
    std::array<Batch, kBatches> batches_;
    uint32_t batches_busy_ = 0;
    uint32_t outstanding_ = 0;
    uint32_t pages_in_batches_ = 0;
    std::unique_ptr<std::byte[]> buffers_;
    uint64_t stores_ = 0;
};

}  // namespace lagan::client::pager
