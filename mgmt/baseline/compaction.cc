// SPDX-License-Identifier: BSD-3-Clause
// Gives back the room of pages that were replaced: segments with little alive in them are rewritten, a
// bounded amount with each commit. Since at least as much may be rewritten as the checkpoint wrote, dead data
// cannot pile up.
#include <algorithm>
#include <cstring>

#include "mgmt/baseline/attempt.h"
#include "mgmt/baseline/baseline_writer.h"
#include "mgmt/baseline/segment.h"
#include "mgmt/baseline/segment_pages.h"

namespace lagan::baseline {

namespace {

// Small checkpoints make small segments: beyond kFewSegments and kManySegments times what the live pages
// need, the smallest are merged.
constexpr uint64_t kFewSegments = 64;
constexpr uint64_t kManySegments = 4;

using Candidate = std::pair<uint32_t, const SegmentRef*>;

double dead_share(const SegmentRef& ref) {
    return ref.data_pages == 0 ? 0
                               : static_cast<double>(ref.data_pages - ref.live_data_pages) / ref.data_pages;
}

// Takes the deadest until little enough is dead, then the smallest until there are few enough.
class Choice {
  public:
    Choice(std::vector<Candidate> candidates, uint64_t room_pages)
        : candidates_(std::move(candidates)), room_pages_(room_pages) {}

    void deadest(double limit) {
        uint64_t stored = 0;
        uint64_t dead = 0;
        for (const auto& [ordinal, ref] : candidates_) {
            stored += ref->data_pages;
            dead += ref->data_pages - ref->live_data_pages;
        }
        std::sort(candidates_.begin(), candidates_.end(), [](const Candidate& a, const Candidate& b) {
            return dead_share(*a.second) > dead_share(*b.second);
        });
        take([&](const SegmentRef& ref) {
            const uint64_t gain = ref.data_pages - ref.live_data_pages;
            if (gain == 0 || static_cast<double>(dead) <= limit * static_cast<double>(stored)) return false;
            stored -= gain;
            dead -= gain;
            return true;
        });
    }
    void smallest() {
        uint64_t entries = 0;
        for (const auto& [ordinal, ref] : candidates_)
            entries += ref->live_entries;
        const uint64_t allowed = kFewSegments + kManySegments * (entries / kGoodSegmentPages);
        if (candidates_.size() <= allowed) return;
        std::sort(candidates_.begin(), candidates_.end(), [](const Candidate& a, const Candidate& b) {
            return a.second->live_entries < b.second->live_entries;
        });
        uint64_t left = candidates_.size();
        take([&](const SegmentRef&) { return left-- > allowed / 2; });
    }
    // Oldest first: what is absent in the oldest segment need not be kept.
    std::vector<uint32_t> taken() {
        std::sort(taken_.begin(), taken_.end());
        return taken_;
    }

  private:
    template <typename Wanted>
    void take(const Wanted& wanted) {
        std::erase_if(candidates_, [&](const Candidate& each) {
            if (each.second->live_data_pages > room_pages_ || !wanted(*each.second)) return false;
            room_pages_ -= each.second->live_data_pages;
            taken_.push_back(each.first);
            return true;
        });
    }

    std::vector<Candidate> candidates_;
    uint64_t room_pages_;
    std::vector<uint32_t> taken_;
};

// Copies of live pages on their way into a new segment.
class Batch {
  public:
    void add(const StoredPage& page) {
        pages_.push_back(page);
        if (page.kind != PageKind::data) return;
        memory_.push_back(make_page_buffer(kPageBytes));
        std::memcpy(memory_.back().get(), page.data, kPageBytes);
        pages_.back().data = memory_.back().get();
    }
    void add(Batch other) {
        pages_.insert(pages_.end(), other.pages_.begin(), other.pages_.end());
        std::move(other.memory_.begin(), other.memory_.end(), std::back_inserter(memory_));
    }
    bool has_room_for(const SegmentRef& ref) const {
        return memory_.size() + ref.live_data_pages <= kMaxSegmentPages &&
               pages_.size() + ref.live_entries <= kMaxSegmentEntries;
    }
    bool good_size() const { return memory_.size() >= kGoodSegmentPages; }
    uint64_t data_bytes() const { return memory_.size() * kPageBytes; }
    std::span<const StoredPage> sorted() {
        std::sort(pages_.begin(), pages_.end(),
                  [](const StoredPage& a, const StoredPage& b) { return a.page < b.page; });
        return pages_;
    }

  private:
    std::vector<StoredPage> pages_;
    std::vector<PageBuffer> memory_;
};

}  // namespace

void BaselineWriter::compact(Attempt& attempt) {
    std::vector<Candidate> candidates;
    for (const auto& [ordinal, ref] : state_.segments)
        if (!unreadable_.contains(ordinal)) candidates.emplace_back(ordinal, &ref);
    Choice choice(std::move(candidates),
                  std::max(options_.compaction_bytes / kPageBytes, attempt.new_data_pages));
    choice.deadest(options_.dead_share_limit);
    choice.smallest();
    try {
        rewrite(attempt, choice.taken());
    } catch (const StoreError& error) {  // the cut does not depend on it
        attempt.result.cleanup_problem = error.what();
    }
}

void BaselineWriter::rewrite(Attempt& attempt, std::span<const uint32_t> victims) {
    Batch batch;
    std::vector<uint64_t> absent;
    const auto flush = [&] {
        const std::span<const StoredPage> pages = batch.sorted();
        if (!pages.empty()) attempt.add(write(pages), pending_of(pages));
        for (const uint64_t page : absent)
            attempt.forget(page);
        attempt.drop_dead();
        attempt.result.compacted_bytes += batch.data_bytes();
        batch = {};
        absent.clear();
    };
    for (const uint32_t ordinal : victims) {
        const SegmentRef ref = state_.segments.at(ordinal);
        if (!batch.has_room_for(ref)) flush();
        const bool oldest = state_.segments.begin()->first == ordinal;
        const auto live = [&](uint64_t page) { return state_.live.at(page).ordinal == ordinal; };
        const std::string key = segment_key(region_.name, ref.id);
        Batch copies;
        std::vector<uint64_t> forgotten;
        std::vector<Loss> losses;
        try {
            const std::vector<IndexEntry> entries = read_index(store_, region_, ref);
            for (const IndexEntry& entry : entries) {
                if (entry.kind == PageKind::data || !live(entry.page)) continue;
                if (entry.kind == PageKind::absent && oldest)
                    forgotten.push_back(entry.page);
                else
                    copies.add({entry.page, entry.kind, 0, nullptr});
            }
            losses =
                read_pages(store_, key, entries, live, [&](const StoredPage& page) { copies.add(page); });
        } catch (const StoreError& error) {
            if (error.kind() != ErrorKind::missing && error.kind() != ErrorKind::damaged) throw;
            LossList lost(key);
            for (uint64_t page = ref.first_page; page <= ref.last_page; ++page)
                if (live(page)) lost.add({page, 1}, error.what());
            losses = lost.take();
        }
        if (!losses.empty()) {  // stays as it is until its pages are stored again
            unreadable_.insert(ordinal);
            std::move(losses.begin(), losses.end(), std::back_inserter(untold_losses_));
            continue;
        }
        batch.add(std::move(copies));
        absent.insert(absent.end(), forgotten.begin(), forgotten.end());
        if (batch.good_size()) flush();
    }
    flush();
}

}  // namespace lagan::baseline
