// SPDX-License-Identifier: BSD-3-Clause
// Capsules: what READ and WRITE cannot say goes in SEND messages of this format (docs/protocol.md,
// "Capsules"). All fields big-endian. A request and its reply carry the same tag; a connection's replies come
// in order.
#pragma once

#include <cstdint>

#include "datapath/roce/headers.h"

namespace lagan::capsule {

using roce::be16;
using roce::be32;
using roce::be64;

inline constexpr uint8_t kVersion = 1;
inline constexpr uint8_t kReply = 0x80;  // or-ed into the opcode of a reply

enum class Opcode : uint8_t {
    free_pages = 1,
    dirty_query = 2,
    region_info = 3,
    fence = 4,
};

enum class Status : uint16_t {
    ok = 0,
    bad_version = 1,
    bad_opcode = 2,
    bad_length = 3,   // the message is not as long as its header says
    bad_range = 4,    // pages beyond the region's end; nothing was done
    not_allowed = 5,  // the connection's role does not give this right
    bad_argument = 6,
    no_region = 7,  // the region has been deleted
};

struct Header {
    uint8_t version;
    uint8_t opcode;
    be16 status;  // 0 in requests
    be32 tag;
    be32 count;  // of ranges that follow
    be32 reserved;
};
static_assert(sizeof(Header) == 16);

// FREE: header, then count × PageRange. Reply: FreeReply.
struct PageRange {
    be32 first_page;
    be32 page_count;
};
static_assert(sizeof(PageRange) == 8);

struct FreeReply {
    Header header;
    be64 freed_pages;  // that held a frame
};
static_assert(sizeof(FreeReply) == 24);

// FENCE: who takes the region over has the old home stop serving it, for good. Role recover only. What
// follows the header of a request: the new home's epoch, which is above the region's.
struct Fence {
    be64 epoch;
};
static_assert(sizeof(Fence) == 8);

// Settled: 1 when no store can be acknowledged any more; with 0 the fence is there, and is asked for again.
struct FenceReply {
    Header header;
    be64 settled;
};
static_assert(sizeof(FenceReply) == 24);

// DIRTY_QUERY: what follows the header of a request.
enum class DirtyQueryKind : uint8_t { counts = 0, active_ranges = 1, drain_ranges = 2 };
struct DirtyQuery {
    uint8_t kind;
    uint8_t reserved[7];
    be64 cursor;  // ranges: page to start from
};
static_assert(sizeof(DirtyQuery) == 16);

struct DirtyCounts {
    Header header;
    be64 dirty_pages;  // of both lists; a page in both counts twice
    be64 present_pages;
    be64 page_count;
    be64 cut_number;   // of the newest cut
    be64 durable_cut;  // the newest one that is whole in the baseline
    be64 drain_pages;  // of dirty_pages, those of the drain list
};
static_assert(sizeof(DirtyCounts) == 64);

// Reply with ranges: DirtyRanges, then header.count × PageRange. next_cursor is the page to go on from, and
// the region's page count when there are no more. A reply may hold no range and yet not be the end: ask on.
struct DirtyRanges {
    Header header;
    be64 next_cursor;
};
static_assert(sizeof(DirtyRanges) == 24);

struct RegionInfo {
    Header header;
    be32 region_id;
    be32 page_bytes;
    be32 data_rkey;
    be32 dirty_rkey;
    be64 size_bytes;
    be64 reserve_bytes;
    be64 present_pages;
    be64 dirty_pages;
    be64 epoch;
    be64 dirty_bytes;  // of the dirty list memory, for one-sided READs
};
static_assert(sizeof(RegionInfo) == 80);

// The private data of a CM REJ of reason 28 when the region has another home: whoever has a manager asks it.
inline constexpr char kMovedReason[] = "moved: the region has a new home; the manager knows it";

// The private data of a CM REP: how to reach the region.
struct Welcome {
    uint8_t version;
    uint8_t reserved[3];
    be32 region_id;
    be32 page_bytes;
    be32 data_rkey;
    be32 dirty_rkey;
    be32 reserved2;
    be64 size_bytes;
    be64 epoch;
    be64 dirty_bytes;
};
static_assert(sizeof(Welcome) == 48);

}  // namespace lagan::capsule
