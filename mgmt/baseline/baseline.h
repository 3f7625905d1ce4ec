// SPDX-License-Identifier: BSD-3-Clause
// What writers and readers of a baseline have in common. docs/baseline.md describes the format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "datapath/memory/page.h"

namespace lagan::baseline {

using memory::kPageBytes;

// Which region a baseline is of, and who writes it.
struct RegionIdentity {
    std::string name;         // its folder in the store
    uint64_t uid = 0;         // random; the same for the region's whole life, on whatever appliance
    uint64_t size_bytes = 0;  // a multiple of kPageBytes
    uint64_t epoch = 0;       // raised by each failover
    uint64_t writer = 0;      // the arena instance: random, the same over restarts of lagand
    friend bool operator==(const RegionIdentity&, const RegionIdentity&) = default;
};

enum class PageKind : uint8_t {
    data = 0,
    absent = 1,   // freed, or zeros: reads as zeros
    damaged = 2,  // its frame failed the CRC: the content is lost
};

struct StoredPage {
    uint64_t page = 0;  // number in the region
    PageKind kind = PageKind::data;
    uint32_t crc = 0;                 // FrameMeta::page_crc: crc32_raw(0, data, kPageBytes); 0 without data
    const std::byte* data = nullptr;  // kPageBytes for kind data, else nullptr
};

struct PageRange {
    uint64_t first = 0;
    uint64_t count = 0;
    friend bool operator==(const PageRange&, const PageRange&) = default;
};

// Pages that a baseline no longer has, and why.
struct Loss {
    std::vector<PageRange> pages;  // ascending, not empty
    std::string object;            // the key
    std::string reason;            // "missing", "CRC of the page's data is wrong", ...
};

// A segment's size is bounded, so that a damaged or unfinished one costs little, and a RADOS object holds it.
inline constexpr uint32_t kMaxSegmentPages = 16384;  // data pages: 64 MiB
inline constexpr uint32_t kMaxSegmentEntries = 1U << 20;
inline constexpr uint32_t kGoodSegmentPages = 4096;  // 16 MiB: what a checkpoint best makes

}  // namespace lagan::baseline
