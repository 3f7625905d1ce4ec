// SPDX-License-Identifier: BSD-3-Clause
// Warm restart: what an earlier lagand left in an arena. Every record and header is checked, every page table
// walked (oneTBB), every entry compared with its frame's metadata.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "datapath/memory/arena.h"
#include "datapath/memory/arena_layout.h"
#include "datapath/memory/region.h"

namespace lagan::memory {

struct FoundRegion {
    RegionRecord record;
    MappedFile page_table_file;
    std::unique_ptr<std::atomic<Pte>[]> page_table_copy;  // of an arena opened to look, in place of the file
    MappedFile dirty_file;
    uint64_t present_pages = 0;
    uint64_t damaged_pages = 0;  // of these; their entries are poisoned, by now or already
    uint64_t pending_pages = 0;  // of a region that is being rebuilt: not here yet

    std::atomic<Pte>* page_table() const {
        return page_table_copy ? page_table_copy.get()
                               : reinterpret_cast<std::atomic<Pte>*>(page_table_file.bytes().data());
    }
};

// A region that cannot be served: its record, its lists or the like is damaged.
struct LeftOutRegion {
    uint32_t id;
    std::string reason;
};

struct FoundRegions {
    std::vector<FoundRegion> regions;
    std::vector<std::string>
        half_restored;                    // names; they are gone now: filled in part, their baseline is whole
    std::vector<LeftOutRegion> left_out;  // only of an arena opened to look: elsewhere the walk throws
    std::vector<uint64_t> published;      // a bit per frame: in a page table (FramePool's constructor)
};

// Brings the present bitmaps up to date and puts what a checkpoint had not finished back on the active lists,
// unless the arena is opened to look. Before rte_eal_init(), which pins the calling thread. Throws
// std::runtime_error that names what is damaged; nothing is guessed. Of an arena opened to look, a damaged
// region is left out: it does not keep the others from being rescued.
FoundRegions walk_regions(Arena& arena);

}  // namespace lagan::memory
