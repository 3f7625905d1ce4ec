// SPDX-License-Identifier: BSD-3-Clause
// Which pages a region's old home has that its baseline has not: its dirty list memory, read and checked.
#pragma once

#include <cstdint>

#include "mgmt/recovery/page_set.h"
#include "mgmt/recovery/source_connection.h"

namespace lagan::recovery {

// The region that is wanted.
struct Wanted {
    uint64_t uid;
    uint64_t epoch;  // the new home's: above the old one's
    uint64_t size_bytes;
    uint64_t source_epoch = 0;  // that the old one must have: a copy of an earlier home is of no use. 0: any
};

// What is in the header, checked.
struct SourceHeader {
    uint64_t page_count;
    uint64_t epoch;
    uint64_t cut_number, durable_cut;
    uint32_t active_list;
    struct {
        uint64_t summary_offset, bitmap_offset;
    } lists[2];
    uint64_t present_offset;
};
// Throws SourceError: invalid when it is another region, or when anything in it cannot be.
SourceHeader read_header(SourceConnection& source, const Wanted& wanted);

struct SourceLists {
    SourceHeader header;
    PageSet drain, active;
    bool contains(uint64_t page) const { return drain.contains(page) || active.contains(page); }
};
// Of a region that has been fenced: all pages whose change was acknowledged and is in no durable cut. Costs
// what is dirty, and a bit for each 4096 pages.
SourceLists read_lists(SourceConnection& source, const Wanted& wanted);

// All pages that hold something, as far as the bitmap knows: those in the lists besides.
PageSet read_present(SourceConnection& source, const SourceHeader& header);

}  // namespace lagan::recovery
