// SPDX-License-Identifier: BSD-3-Clause
// Restores a region from a store. Needs no writer, disturbs none, and works while one commits.
//
//   BaselineReader reader(store, "name");
//   // any number of threads, each segment once
//   for (size_t i = 0; i < reader.segment_count(); ++i)
//       reader.load(i, [&](const StoredPage& page) { ... });
//
// What is not delivered as data or damaged and is in no Loss is absent: it reads as zeros.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "mgmt/baseline/baseline.h"
#include "mgmt/baseline/live_map.h"
#include "mgmt/baseline/manifest.h"
#include "mgmt/baseline/object_store.h"
#include "mgmt/baseline/segment.h"

namespace lagan::baseline {

// One manifest of a region, as an operator sees it.
struct CutInfo {
    uint64_t manifest_number = 0;
    bool readable = false;
    std::string problem;  // why it is not readable
    // If it is:
    RegionIdentity region;
    uint64_t cut_number = 0;
    uint64_t cut_time_us = 0;
    uint64_t data_pages = 0;
    uint64_t stored_bytes = 0;
};

// Newest first; empty if there is no baseline of that name. Manifests that hold the same cut appear each.
std::vector<CutInfo> list_cuts(ObjectStore& store, const std::string& region);

// Names of the regions that have a baseline in the store.
std::vector<std::string> list_regions(ObjectStore& store);

// Removes a region's baseline, newest manifest last: for a region that was deleted for good. Refused if the
// baseline is another region's (other uid); `uid` 0 removes whatever is there.
void remove_baseline(ObjectStore& store, const std::string& region, uint64_t uid);

class BaselineReader {
  public:
    // Loads and verifies the manifest (the newest, or the one asked for) and all page indexes. The store
    // outlives the reader. Throws StoreError: missing (no baseline of that name), damaged (the manifest; the
    // text says which other cuts there are), invalid (a newer version), unavailable. A segment whose index
    // cannot be read is no exception: its pages are in losses().
    BaselineReader(ObjectStore& store, const std::string& region,
                   std::optional<uint64_t> manifest_number = std::nullopt);

    const Manifest& manifest() const { return manifest_; }

    // Pages lost because a whole segment is missing or its index is damaged. All pages between the segment's
    // first and last are named that no later segment has: which of them it held cannot be known.
    const std::vector<Loss>& losses() const { return losses_; }

    // It says something of the page, that it is absent maybe.
    bool names(uint64_t page) const { return live_.at(page).ordinal != 0; }

    // Independent pieces of work, in no particular order.
    size_t segment_count() const { return manifest_.segments.size(); }
    // Data pages that load(i) will deliver or report.
    uint32_t data_pages_of(size_t segment) const { return manifest_.segments[segment].live_data_pages; }

    // Reads segment i and calls `deliver` for each live page of kind data (CRC verified; `data` is valid
    // during the call) or damaged, in no particular order. Returns what could not be read or verified, page
    // ranges by reason; these are not delivered. Thread-safe. Throws StoreError: unavailable when the store
    // does not answer (the segment may then be loaded again, all of it); missing when a writer has replaced
    // this cut by two newer ones meanwhile.
    std::vector<Loss> load(size_t segment, const std::function<void(const StoredPage&)>& deliver) const;

    // The same for one page; nothing is delivered if it is absent. The indexes of the segments that were
    // asked for last are kept.
    std::vector<Loss> load_page(uint64_t page, const std::function<void(const StoredPage&)>& deliver) const;

  private:
    using Index = std::shared_ptr<const std::vector<IndexEntry>>;
    Index index_of(size_t segment) const;
    void note_lost(const LoadedMap::Lost& lost);
    void check_not_superseded() const;

    ObjectStore& store_;
    Manifest manifest_;  // with the live counts as they were found
    LiveMap live_;
    std::vector<bool> lost_;  // by segment: its index
    std::vector<Loss> losses_;
    mutable std::mutex mutex_;
    mutable std::list<std::pair<size_t, Index>> indexes_;  // under mutex_; newest first
};

}  // namespace lagan::baseline
