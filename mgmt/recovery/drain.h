// SPDX-License-Identifier: BSD-3-Clause
// A cut's pages, batch by batch, as a oneTBB pipeline wants them: fill() in its serial input, the rest in
// parallel.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include <tbb/concurrent_queue.h>

#include "mgmt/recovery/checkpoint.h"

namespace lagan::recovery {

class Drain {
  public:
    struct Batch {
        std::vector<memory::Cut::Content> contents;  // those with a frame are owned
        std::vector<baseline::StoredPage> pages;     // the same pages in the same order
    };

    Drain(const Memory& memory, const memory::Region& region, memory::Cut& cut);
    // Lets go of every frame that is still held. The pipeline has ended.
    ~Drain();
    Drain(const Drain&) = delete;
    Drain& operator=(const Drain&) = delete;

    // Batches that may be on their way at once.
    size_t tokens() const { return batches_.size(); }

    // One thread at a time. The next pages; null at the end. Not called while tokens() batches are out.
    Batch* fill();
    // Any thread. A frame whose bytes do not have its CRC goes in as damaged, and its page is poisoned.
    void verify(Batch& batch) const;
    void release(Batch& batch);

  private:
    bool next_page(uint64_t& page);
    bool take_some(Batch& batch);

    const Memory& memory_;
    const memory::Region& region_;
    memory::Cut& cut_;
    uint32_t pages_per_batch_;
    std::vector<std::unique_ptr<Batch>> batches_;
    tbb::concurrent_queue<Batch*> free_;
    uint64_t cursor_ = 0;  // of the list, behind the ranges below
    std::array<memory::DirtyList::Range, 128> ranges_{};
    size_t range_ = 0, range_count_ = 0;
};

}  // namespace lagan::recovery
