// SPDX-License-Identifier: BSD-3-Clause
// Creates, finds and destroys regions. Control thread only; lcores see its work through RkeyTable.
#pragma once

#include <rte_rcu_qsbr.h>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "datapath/memory/arena.h"
#include "datapath/memory/frame_budget.h"
#include "datapath/memory/region.h"
#include "datapath/memory/region_walk.h"
#include "datapath/memory/rkey_table.h"

namespace lagan::memory {

struct RegionError : std::runtime_error {
    enum class Kind { exists, not_found, no_room, invalid };
    Kind kind;
    RegionError(Kind k, const std::string& what) : std::runtime_error(what), kind(k) {}
};

// Places among RCU's readers for the control thread and for checkpoints, whoever waits for a grace period
// there: a waiter that is no reader would let others believe in grace periods that are not over
// (rte_rcu_qsbr keeps the least counter that a waiter saw, without the readers that were offline at that
// moment).
struct RcuReaders {
    unsigned control = RTE_QSBR_THRID_INVALID;
    unsigned checkpoint = RTE_QSBR_THRID_INVALID;
};

class RegionTable {
  public:
    // `slack_frames`: what in-flight READs, unpublished and retired frames may take at most; the frames that
    // idle lcores' caches may hold back (FramePool::slack_frames) are added to it here. `cut_frames`: kept
    // for checkpoints. Everything outlives the table. Throws std::runtime_error when the slack leaves
    // nothing.
    RegionTable(Arena& arena, FramePool& pool, RkeyTable& rkeys, rte_rcu_qsbr* rcu, uint64_t slack_frames,
                uint64_t cut_frames = 0, RcuReaders readers = {});
    // No lcore runs any more. The regions' files stay in the arena.
    ~RegionTable();
    RegionTable(const RegionTable&) = delete;
    RegionTable& operator=(const RegionTable&) = delete;

    // Takes the regions over that were found in the arena, with their R_Keys; before lcores run. Throws
    // std::runtime_error when their reserves do not fit any more. Those of an arena opened to look can only
    // be read, and nothing is created or destroyed beside them.
    void adopt(std::vector<FoundRegion> found);

    struct Spec {
        std::string_view name;
        uint64_t size_bytes;
        uint64_t reserve_bytes = 0;
        bool overcommit = false;
        bool temporary = false;
        // For a region that is made from its baseline: who it was. Until complete() it is dropped at a
        // restart.
        bool restoring = false;
        // For a region that is fetched from elsewhere while clients use it: all its pages are pending. Stays
        // so over a restart until complete().
        bool rebuilding = false;
        // A manager looks after it: it is served when its lease has been renewed.
        bool managed = false;
        uint64_t uid = 0;  // 0: a new one
        uint64_t epoch = 1;
    };
    // size is rounded up to a whole page, 1 to kMaxRegionPages. Without overcommit the reserve is the whole
    // size: reserve_bytes is 0 or not less. With overcommit it is what is asked for, down to 0. Page table
    // and dirty list (size / 500) are committed at once. Throws RegionError; on a throw nothing is left
    // behind. Names: 1 to 63 of [A-Za-z0-9._-], not starting with a dot or dash.
    Region& create(const Spec& spec);
    Region& create(std::string_view name, uint64_t size_bytes, uint64_t reserve_bytes, bool overcommit) {
        return create({.name = name,
                       .size_bytes = size_bytes,
                       .reserve_bytes = reserve_bytes,
                       .overcommit = overcommit});
    }
    // The region is whole, as of this cut; of a rebuilt one no page is pending any more, and its rebuilder
    // has ended. Throws std::system_error if that cannot be written down.
    void complete(Region& region, uint64_t cut);
    // From here on the region is served while it has a lease, also after a restart: before the first lease is
    // given. Throws std::system_error if that cannot be written down.
    void make_managed(Region& region);
    // The region stops for good: a home of `epoch` takes over. Waits until every lcore has ended what it had
    // begun. The control thread.
    void fence(Region& region, uint64_t epoch);
    // The word by which whoever reads the dirty list memory sees that the control thread lives.
    void beat();

    // Null when there is none.
    Region* find(std::string_view name);
    Region* find(uint32_t id);
    std::vector<Region*> list();

    // R_Keys first, then waits for a grace period, then frees every frame and removes the files. The caller
    // has closed the region's QPs and is not itself registered as an online RCU reader. Frames still in
    // flight to a port return to the pool with their mbufs.
    void destroy(Region& region);

    FrameBudget& budget() { return budget_; }

    // A checkpoint's thread, one per region, while the region exists; not an online RCU reader. From
    // begin_cut() on, the drain list is what was dirty, and the Cut has its pages as they were: when this
    // returns, all lcores mark the other list. The drain list must be empty. Throws std::runtime_error when
    // there is no memory, std::logic_error when the region is not whole.
    Cut& begin_cut(Region& region, uint32_t frames_in_flight);
    // The cut goes. Durable: its pages are in the baseline, and clean if nothing has changed them since. Else
    // they are dirty as before.
    enum class CutEnd { durable, given_up };
    void end_cut(Region& region, CutEnd how);

  private:
    struct Entry;

    std::unique_ptr<Entry> make_entry(const Spec& spec, uint64_t page_count, uint64_t reserve_pages);
    void connect_memory(Entry& entry);
    static void make_pending(Entry& entry);
    void write_record(const Region& region) const;
    void wait_for_readers(unsigned reader) const;
    void remove_rkeys(Region& region);
    void free_frames(Region& region);
    void remove_files(const Region& region) noexcept;

    Arena& arena_;
    FramePool& pool_;
    RkeyTable& rkeys_;
    rte_rcu_qsbr* rcu_;
    RcuReaders readers_;
    FrameBudget budget_;
    std::vector<std::unique_ptr<Entry>> entries_;
};

}  // namespace lagan::memory
