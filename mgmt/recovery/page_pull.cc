// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/recovery/page_pull.h"

#include <fmt/format.h>

#include <array>

namespace lagan::recovery {

using roce::WorkStatus;
using Why = SourceError::Why;

namespace {

// Two bandwidth-delay products of any link, and what 128 READs on their way need beside those that are being
// settled.
constexpr uint32_t kMostFrames = 512;
constexpr uint32_t kFewestFrames = 8;

}  // namespace

PagePull::PagePull(const RebuildMeans& means, Settler& settler, WantedQueue& wanted, const SourceLists& lists,
                   const PageSet& present, bool has_baseline, const std::atomic<bool>& baseline_fits,
                   RebuildProgress& progress)
    : means_(means),
      settler_(settler),
      wanted_(wanted),
      lists_(lists),
      has_baseline_(has_baseline),
      baseline_fits_(baseline_fits),
      progress_(progress),
      cursors_{PageSet::Cursor(lists.drain), PageSet::Cursor(lists.active), PageSet::Cursor(present)},
      claimed_(claim_frames()) {}

PagePull::~PagePull() {
    means_.memory.regions.budget().give_for_cut(claimed_);
}

// What is on its way is in no page table, and beside the region's own pages. With an arena that is claimed to
// the last frame a few come out of the slack.
uint32_t PagePull::claim_frames() const {
    memory::FrameBudget& budget = means_.memory.regions.budget();
    for (uint32_t frames = kMostFrames; frames > kFewestFrames; frames /= 2)
        if (budget.take_for_cut(frames, 0)) return frames;
    return 0;
}

// In an earlier list: it may be on its way.
bool PagePull::had_its_turn(uint64_t page) const {
    return (cursor_ > 0 && lists_.drain.contains(page)) || (cursor_ > 1 && lists_.active.contains(page));
}

// The next page that is still pending.
bool PagePull::next(WantedQueue::Page& page) {
    if (const auto wanted = wanted_.take_for_source()) {
        page = *wanted;
        return true;
    }
    for (; cursor_ < cursors_.size(); ++cursor_) {
        while ((page.page = cursors_[cursor_].next()) != PageSet::kEnd) {
            page.only_here = false;
            if (settler_.is_pending(page.page) && !had_its_turn(page.page)) return true;
        }
    }
    return false;
}

bool PagePull::order_one(SourceConnection& source) {
    if (in_flight_.size() >= std::max(claimed_, kFewestFrames)) return false;
    const memory::FrameIndex frame = means_.memory.frames.allocate();
    if (frame == memory::kNoFrame) return false;
    WantedQueue::Page page{};
    if (next(page)) {
        if (source.order_page(page.page, means_.memory.frames.data(frame))) {
            in_flight_.push_back({page, frame});
            return true;
        }
        put_back(page);
    }
    means_.memory.frames.release(frame);
    return false;
}

bool PagePull::needs_source(const WantedQueue::Page& page) const {
    return page.only_here || !has_baseline_ || lists_.contains(page.page);
}

// It was not brought. What the baseline has as well does not keep us waiting for the source.
void PagePull::put_back(const WantedQueue::Page& page) {
    if (needs_source(page)) {
        wanted_.add_for_source(page.page);
    } else {
        wanted_.put_back(page.page);
    }
}

// At the source.
void PagePull::damaged(const WantedQueue::Page& page) {
    ++brought_;
    if (!needs_source(page)) return wanted_.add_for_baseline(page.page);
    if (settler_.put_damaged(page.page, true))
        means_.events.add(Severity::alarm, "page_damaged", settler_.region(),
                          fmt::format("page {} is damaged: its last home found it so; reads of it are "
                                      "refused until it is stored again or freed",
                                      page.page));
}

void PagePull::arrived(const InFlight& flight, WorkStatus status) {
    if (status == WorkStatus::success) {
        const bool dirty = needs_source(flight.page) || !baseline_fits_.load(std::memory_order_acquire);
        settler_.put_frame(flight.page.page, flight.frame, dirty);
        ++progress_.pages_pulled;
        ++brought_;
        return;
    }
    means_.memory.frames.release(flight.frame);
    if (status != WorkStatus::flushed)
        problem_ = fmt::format("reading page {}: {}", flight.page.page, to_string(status));
    lost_ = true;
    // The one that the source refused; the others fell with the connection.
    if (status == WorkStatus::remote_operation) return damaged(flight.page);
    put_back(flight.page);
}

size_t PagePull::take(SourceConnection& source) {
    std::array<SourceConnection::Arrival, 64> arrivals;
    const size_t count = source.take_arrivals(arrivals);
    for (size_t i = 0; i < count; ++i) {
        const InFlight flight = in_flight_.front();
        in_flight_.pop_front();
        arrived(flight, arrivals[i].status);
    }
    return count;
}

// Nothing of ours is written to any more: the frames can go.
void PagePull::give_back() noexcept {
    for (const InFlight& flight : in_flight_) {
        means_.memory.frames.release(flight.frame);
        put_back(flight.page);
    }
    in_flight_.clear();
}

void PagePull::run(SourceConnection& source, const std::function<bool()>& others_done) {
    lost_ = false;
    problem_ = "the connection to the source has ended";
    try {
        while (true) {
            while (!lost_ && order_one(source)) {
            }
            const size_t taken = take(source);
            if (lost_ && in_flight_.empty()) throw SourceError(Why::lost, problem_);
            if (taken != 0) continue;
            if (others_done() && is_done()) return;  // in this order: the others leave us pages
            source.wait();
        }
    } catch (...) {
        source.end_orders();
        give_back();
        throw;
    }
}

}  // namespace lagan::recovery
