// SPDX-License-Identifier: BSD-3-Clause
// Which segment has a page's newest content: 4 bytes per page, zeroed memory that is only taken where used.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "mgmt/baseline/manifest.h"
#include "mgmt/baseline/object_store.h"

namespace lagan::baseline {

// Segments are known by ordinals from 1: a later one replaces what an earlier one says. One thread changes
// it.
class LiveMap {
  public:
    struct Place {
        uint32_t ordinal = 0;  // 0: never stored, so absent
        bool data = false;     // kind of the entry there
    };
    static constexpr uint32_t kMaxOrdinal = (1U << 31) - 1;

    LiveMap() = default;
    explicit LiveMap(uint64_t pages)
        : places_(static_cast<uint32_t*>(std::calloc(pages + 1, sizeof(uint32_t)))) {
        if (places_ == nullptr) throw std::bad_alloc();
    }
    Place at(uint64_t page) const { return decode(places_.get()[page]); }
    // Returns what it was.
    Place set(uint64_t page, Place place) {
        return decode(std::exchange(places_.get()[page], place.ordinal << 1 | (place.data ? 1U : 0U)));
    }

  private:
    static Place decode(uint32_t value) { return {value >> 1, (value & 1) != 0}; }
    struct Free {
        void operator()(uint32_t* memory) const { std::free(memory); }
    };
    std::unique_ptr<uint32_t, Free> places_;
};

// The page index of a manifest.
struct LoadedMap {
    struct Lost {
        size_t segment;  // its index is missing or damaged
        std::string reason;
    };
    LiveMap live;                      // segments[i] has the ordinal i + 1
    std::vector<SegmentRef> segments;  // with the live counts found
    // All pages between a lost segment's first and last that no later segment has are taken for its own.
    std::vector<Lost> lost;
};

// Reads and verifies the indexes of all segments, several at once. Throws StoreError: unavailable; damaged if
// the indexes are whole but contradict the manifest.
LoadedMap load_live_map(ObjectStore& store, const Manifest& manifest);

}  // namespace lagan::baseline
