// SPDX-License-Identifier: BSD-3-Clause
// Reading the pages of a segment, each verified.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "mgmt/baseline/baseline.h"
#include "mgmt/baseline/object_store.h"
#include "mgmt/baseline/segment.h"

namespace lagan::baseline {

// Collects lost pages of one object into ranges, by reason.
class LossList {
  public:
    explicit LossList(std::string object) : object_(std::move(object)) {}
    void add(PageRange pages, const std::string& reason);
    std::vector<Loss> take() { return std::move(losses_); }

  private:
    const std::string object_;
    std::vector<Loss> losses_;
};

// Reads those of a segment's data pages that `wanted` names, in large pieces, and calls `deliver` for each
// whose CRC is right; `data` is valid during the call. The others are returned. `entries` is the segment's
// verified index. Throws StoreError::unavailable.
std::vector<Loss> read_pages(ObjectStore& store, const std::string& key, std::span<const IndexEntry> entries,
                             const std::function<bool(uint64_t page)>& wanted,
                             const std::function<void(const StoredPage&)>& deliver);

}  // namespace lagan::baseline
