// SPDX-License-Identifier: BSD-3-Clause
// Pulls pages from the source straight into frames, as many at once as there are frames for: those that
// somebody waits for, then the drain list, the active list, and what is present besides if there is no
// baseline. One thread; goes on over several connections.
#pragma once

#include <array>
#include <atomic>
#include <deque>
#include <functional>

#include "mgmt/recovery/settler.h"
#include "mgmt/recovery/source_lists.h"
#include "mgmt/recovery/wanted_queue.h"

namespace lagan::recovery {

class PagePull {
  public:
    // `present`: empty when a baseline has what is not listed; that it fits the source is known when
    // `baseline_fits`, and until then all that is pulled is dirty. All outlive it.
    PagePull(const RebuildMeans& means, Settler& settler, WantedQueue& wanted, const SourceLists& lists,
             const PageSet& present, bool has_baseline, const std::atomic<bool>& baseline_fits,
             RebuildProgress& progress);
    ~PagePull();  // the frames have been given back
    PagePull(const PagePull&) = delete;
    PagePull& operator=(const PagePull&) = delete;

    // Returns when nothing is left that needs the source, and `others_done` says that there will not be more;
    // pages that somebody waits for are brought until then. Throws SourceError when the connection ends:
    // called again with another one, it goes on.
    void run(SourceConnection& source, const std::function<bool()>& others_done);

    // The lists are through: what needs the source still is in `wanted`.
    bool lists_done() const { return in_flight_.empty() && cursor_ == cursors_.size(); }
    bool is_done() const { return lists_done() && !wanted_.needs_source(); }
    // Pages of which something is known since the beginning: whoever waits between connections looks whether
    // there were more.
    uint64_t brought() const { return brought_; }

  private:
    struct InFlight {
        WantedQueue::Page page;
        memory::FrameIndex frame;
    };
    bool next(WantedQueue::Page& page);
    bool had_its_turn(uint64_t page) const;
    bool order_one(SourceConnection& source);
    size_t take(SourceConnection& source);
    void arrived(const InFlight& flight, roce::WorkStatus status);
    bool needs_source(const WantedQueue::Page& page) const;
    void put_back(const WantedQueue::Page& page);
    void damaged(const WantedQueue::Page& page);
    void give_back() noexcept;
    uint32_t claim_frames() const;

    const RebuildMeans& means_;
    Settler& settler_;
    WantedQueue& wanted_;
    const SourceLists& lists_;
    const bool has_baseline_;
    const std::atomic<bool>& baseline_fits_;
    RebuildProgress& progress_;
    std::array<PageSet::Cursor, 3> cursors_;  // what is to be pulled, in this order
    size_t cursor_ = 0;
    std::deque<InFlight> in_flight_;  // in the order of ordering
    uint32_t claimed_ = 0;            // frames that the budget has set aside for us
    uint64_t brought_ = 0;
    bool lost_ = false;  // a read has failed
    std::string problem_;
};

}  // namespace lagan::recovery
