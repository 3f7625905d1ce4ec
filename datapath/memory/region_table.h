// SPDX-License-Identifier: BSD-3-Clause
// Creates, finds and destroys regions. Control thread only; lcores see its work through RkeyTable.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "datapath/memory/arena.h"
#include "datapath/memory/frame_budget.h"
#include "datapath/memory/region.h"
#include "datapath/memory/retire_queue.h"
#include "datapath/memory/rkey_table.h"

namespace lagan::memory {

struct RegionError : std::runtime_error {
    enum class Kind { exists, not_found, no_room, invalid };
    Kind kind;
    RegionError(Kind k, const std::string& what) : std::runtime_error(what), kind(k) {}
};

class RegionTable {
  public:
    RegionTable(Arena& arena, FramePool& pool, RkeyTable& rkeys, rte_rcu_qsbr* rcu, uint64_t slack_frames);
    ~RegionTable();

    // size is rounded up to a whole page; reserve 0 means the whole size. Throws RegionError; on a throw
    // nothing is left behind. Names: 1 to 63 of [A-Za-z0-9._-], not starting with a dot or dash.
    Region& create(std::string_view name, uint64_t size_bytes, uint64_t reserve_bytes, bool overcommit);
    Region* find(std::string_view name);
    Region* find(uint32_t id);
    std::vector<Region*> list();

    // R_Keys first, then waits for a grace period, then frees every frame. The caller has closed the region's
    // QPs.
    void destroy(Region& region);

    FrameBudget& budget();
};

}  // namespace lagan::memory
