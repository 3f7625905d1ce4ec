// SPDX-License-Identifier: BSD-3-Clause
// A segment: the pages' data back to back, then a tail: index, zeros, footer. All parts are multiples of
// kPageBytes and lie so in the object. Little-endian.
//
//   | data page 0 | data page 1 | ... | IndexEntry 0 | IndexEntry 1 | ... | zeros | SegmentFooter |
//                                     '------------------ tail_bytes(entries) ------------------'
#pragma once

#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "mgmt/baseline/baseline.h"
#include "mgmt/baseline/manifest.h"
#include "mgmt/baseline/object_store.h"

namespace lagan::baseline {

// The n-th entry of kind data describes the n-th data page.
struct IndexEntry {
    uint64_t page;
    uint32_t crc;
    PageKind kind;
    uint8_t zero[3];
};
static_assert(sizeof(IndexEntry) == 16);

inline constexpr uint64_t kSegmentMagic = 0x4745534e4147414c;  // "LAGANSEG"

struct SegmentFooter {
    uint64_t magic;
    uint32_t version;
    uint32_t entries;
    uint32_t data_pages;
    uint32_t page_bytes;
    uint64_t region_uid;
    uint64_t epoch;
    uint64_t session;
    uint64_t sequence;
    uint32_t zero;
    uint32_t tail_crc;  // crc32_raw(0xffffffff) of the tail up to here; the last four bytes of the object
};
static_assert(sizeof(SegmentFooter) == 64);

// Memory that O_DIRECT can take.
struct FreeMemory {
    void operator()(std::byte* memory) const { std::free(memory); }
};
using PageBuffer = std::unique_ptr<std::byte[], FreeMemory>;
PageBuffer make_page_buffer(uint64_t bytes);  // a multiple of kPageBytes

uint64_t tail_bytes(uint32_t entries);

// The tail for these pages; fills everything of `ref` from them but ref->id, which is given. All entries are
// live. Throws StoreError (invalid) if the pages are not in order, too many, or not of this region.
PageBuffer encode_tail(std::span<const StoredPage> pages, const RegionIdentity& region, SegmentRef* ref);

// Reads and verifies a segment's index. Throws StoreError: missing, damaged (naming the object), unavailable.
std::vector<IndexEntry> read_index(ObjectStore& store, const RegionIdentity& region, const SegmentRef& ref);

}  // namespace lagan::baseline
