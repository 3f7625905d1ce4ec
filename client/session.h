// SPDX-License-Identifier: BSD-3-Clause
// A region as the client sees it: reads of byte ranges, stores and frees of pages, through the chunk map. Everything is
// asynchronous and single-threaded; the blocking forms below poll until their operation is done.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "client/fabric.h"

namespace lagan::client {

struct SessionStats {
    uint64_t reads, read_bytes;
    uint64_t stores;        // pages
    uint64_t frees;         // pages
    uint64_t free_capsules;
};

class Session {
  public:
    // Takes a connected fabric. The chunk map names it for every chunk (one appliance for now).
    explicit Session(std::unique_ptr<Fabric> fabric);
    ~Session();

    uint64_t size_bytes() const;
    uint64_t page_count() const;

    // False: no room now; poll and try again. Ranges crossing chunks are one operation to the caller.
    bool read(uint64_t cookie, uint64_t offset, void* to, uint32_t bytes);
    bool store_page(uint64_t cookie, uint64_t page, const void* from);
    // Collected into capsules; flushed by poll() or when one is full. The completion comes when the appliance has
    // answered the capsule with success.
    bool free_pages(uint64_t cookie, uint64_t first_page, uint32_t page_count);

    // Drives the fabric. Returns completions of the operations above.
    size_t poll(std::span<Completion> out);

    // Blocking forms for callers without a loop of their own. Return the status. Only while nothing
    // asynchronous is outstanding.
    CompletionStatus read_blocking(uint64_t offset, void* to, uint64_t bytes);
    CompletionStatus store_blocking(uint64_t first_page, const void* from, uint32_t page_count);
    CompletionStatus free_blocking(uint64_t first_page, uint64_t page_count);
    struct DirtyCounts {
        CompletionStatus status;
        uint64_t dirty_pages, present_pages;
    };
    DirtyCounts dirty_counts_blocking();

    uint32_t outstanding() const;  // operations posted and not completed
    bool connected() const;
    std::string failure() const;
    const SessionStats& stats() const;
};

}  // namespace lagan::client
