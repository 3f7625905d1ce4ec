// SPDX-License-Identifier: BSD-3-Clause
// One rebuild of one region at its new home: its old home is fenced, what is in no baseline is pulled from
// there, the rest comes from the baseline. Clients use the region meanwhile; pages that they wait for come
// first.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>

#include "mgmt/baseline/object_store.h"
#include "mgmt/recovery/checkpoint.h"
#include "mgmt/recovery/events.h"
#include "mgmt/recovery/source_link.h"
#include "mgmt/recovery/workers.h"

namespace lagan::recovery {

struct RebuildRequest {
    std::string region;
    uint64_t uid = 0;
    uint64_t epoch = 0;  // the new home's
    uint64_t size_bytes = 0;
    uint64_t reserve_bytes = 0;  // 0: the whole size
    bool overcommit = false;
    bool managed = false;  // served only while somebody renews a lease
    // Empty: there is none any more, and the region is as at its newest checkpoint (rolled back).
    std::optional<SourceAddress> source;
    bool baseline = false;  // false: there is none, all pages are at the source
};

enum class RebuildState : uint8_t { fencing, reading_lists, rebuilding, source_lost, done, failed };
const char* to_string(RebuildState state);

// Written by the rebuild, read by whoever shows it; `cancel` and `source` the other way round.
struct RebuildProgress {
    std::atomic<RebuildState> state{RebuildState::fencing};
    std::atomic<bool> fenced{false};        // the old home has said that it stores nothing any more
    std::atomic<uint64_t> pages_listed{0};  // at the source, that are to be pulled
    std::atomic<uint64_t> pages_pulled{0}, pages_from_baseline{0};
    std::atomic<uint64_t> damaged_pages{0};  // nobody has them whole
    std::atomic<uint64_t> first_page_us{0};  // from the beginning to the first page from anywhere
    std::atomic<uint64_t> cut_number{0}, cut_time_us{0};  // of the baseline that was used
    std::stop_source cancel;

    mutable std::mutex mutex;
    std::optional<SourceAddress> source;  // under mutex: where to look for it, from the next attempt on
    std::string problem;                  // under mutex: what it waits for

    std::optional<SourceAddress> where() const {
        const std::scoped_lock lock(mutex);
        return source;
    }
    void say(const std::string& text) {
        const std::scoped_lock lock(mutex);
        problem = text;
    }
};

// Why a rebuild ended without a whole region, beside SourceError and StoreError. Those of its pages that are
// there stay, and another attempt goes on from there.
struct RebuildFailed : std::runtime_error {
    bool cancelled;
    explicit RebuildFailed(const std::string& what, bool by_us = false)
        : std::runtime_error(what), cancelled(by_us) {}
};

// What it works with; all outlive it.
struct RebuildMeans {
    const Memory& memory;
    Connect connect;
    baseline::ObjectStore* store;  // null: none is configured
    uint64_t writer_id;            // in baselines
    Workers& workers;
    EventLog& events;
    // How long a source is asked for pages that its baseline has lost, when nothing else is missing. Then
    // they are damaged.
    std::chrono::milliseconds patience{15'000};
};

// Returns when no page is pending any more: the cut from which to go on counting. A source that does not
// answer is asked again until it does, or until `progress.cancel`. A baseline that does not fit the source is
// left alone, and every page taken from the source. Throws RebuildFailed, SourceError
// (invalid), StoreError. The calling thread blocks, and uses the workers. No cut of the region is made
// meanwhile: that, and that the region stays, is why no thread here has to be an RCU reader.
uint64_t rebuild(const RebuildMeans& means, memory::Region& region, const RebuildRequest& request,
                 RebuildProgress& progress);

}  // namespace lagan::recovery
