// SPDX-License-Identifier: BSD-3-Clause
// A commit on its way: the changes that it makes to the writer's state, which are taken back if it fails.
#pragma once

#include <map>
#include <span>
#include <utility>
#include <vector>

#include "mgmt/baseline/baseline_writer.h"

namespace lagan::baseline {

class BaselineWriter::Attempt {
  public:
    explicit Attempt(State& state)
        : state_(state), segments_before_(state.segments), next_ordinal_before_(state.next_ordinal) {}
    ~Attempt() {
        if (done_) return;
        for (auto change = changes_.rbegin(); change != changes_.rend(); ++change)
            state_.live.set(change->first, change->second);
        state_.segments = std::move(segments_before_);
        state_.next_ordinal = next_ordinal_before_;
    }
    Attempt(const Attempt&) = delete;
    Attempt& operator=(const Attempt&) = delete;

    // The segment replaces what others have of these pages.
    void add(const SegmentRef& ref, std::span<const PendingPage> pages) {
        if (state_.next_ordinal >= LiveMap::kMaxOrdinal)
            throw StoreError(ErrorKind::invalid, "baseline: out of segment numbers: open the writer again");
        const uint32_t ordinal = state_.next_ordinal++;
        state_.segments.emplace(ordinal, ref);
        changes_.reserve(changes_.size() + pages.size());
        for (const PendingPage& page : pages)
            place(page.page, {ordinal, page.data});
    }
    // No segment has the page any more: it is absent.
    void forget(uint64_t page) { place(page, {}); }
    // Segments of which nothing is alive go.
    void drop_dead() {
        std::erase_if(state_.segments, [](const auto& each) { return each.second.live_entries == 0; });
    }
    void done() { done_ = true; }

    CommitResult result;
    uint64_t new_data_pages = 0;  // of the checkpoint

  private:
    void place(uint64_t page, LiveMap::Place place) {
        const LiveMap::Place before = state_.live.set(page, place);
        changes_.emplace_back(page, before);
        if (before.ordinal == 0) return;
        SegmentRef& replaced = state_.segments.at(before.ordinal);
        --replaced.live_entries;
        replaced.live_data_pages -= before.data;
    }

    State& state_;
    std::map<uint32_t, SegmentRef> segments_before_;
    uint32_t next_ordinal_before_;
    std::vector<std::pair<uint64_t, LiveMap::Place>> changes_;
    bool done_ = false;
};

}  // namespace lagan::baseline
