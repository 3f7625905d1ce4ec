// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/recovery/baseline_fill.h"

#include <fmt/format.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <chrono>

#include "mgmt/baseline/interruption.h"
#include "mgmt/recovery/restore.h"

namespace lagan::recovery {

using baseline::ErrorKind;
using baseline::StoreError;
using namespace std::chrono_literals;

namespace {

constexpr auto kAskAgain = 500ms;
constexpr auto kPause = 200us;  // between looks for wanted pages

}  // namespace

void BaselineFill::refuse_if_ended() const {
    if (end_.stop_requested()) throw RebuildFailed("cancelled", true);
}

template <typename Work>
auto BaselineFill::until_it_answers(Work&& work) {
    while (true) {
        refuse_if_ended();
        try {
            return work();
        } catch (const StoreError& error) {
            refuse_if_ended();
            if (error.kind() != ErrorKind::unavailable) throw;
            progress_.say(error.what());
        }
        baseline::sleep_for(kAskAgain, end_.get_token());
    }
}

BaselineFill::BaselineFill(const RebuildMeans& means, const RebuildRequest& request, Settler& settler,
                           WantedQueue& wanted, std::function<bool(uint64_t)> is_elsewhere,
                           const std::atomic<bool>& source_serves, const std::stop_source& end,
                           RebuildProgress& progress)
    : means_(means),
      request_(request),
      settler_(settler),
      wanted_(wanted),
      is_elsewhere_(std::move(is_elsewhere)),
      source_serves_(source_serves),
      end_(end),
      store_(*means.store, end),
      progress_(progress) {
    if (!request_.source) require_cut();
    const uint64_t ours = claim_newest().newest.number;
    reader_ = until_it_answers(
        [&] { return std::make_unique<baseline::BaselineReader>(store_, request_.region, ours); });
    progress_.cut_number = manifest().cut_number;
    progress_.cut_time_us = manifest().cut_time_us;
}

// There is no other source: what cannot be read is not taken for an empty region.
void BaselineFill::require_cut() {
    const auto cuts = until_it_answers([&] { return baseline::list_cuts(store_, request_.region); });
    const bool damaged = std::any_of(cuts.begin(), cuts.end(), [](const auto& cut) { return !cut.readable; });
    const auto will_do = [&](const auto& cut) { return cut.readable && (cut.cut_number != 0 || !damaged); };
    if (std::any_of(cuts.begin(), cuts.end(), will_do)) return;
    throw RebuildFailed(fmt::format("there is no baseline of {} in the store{}, and no other source",
                                    request_.region, damaged ? " that can be read" : ""));
}

// From here on no earlier home commits any more, and nothing that the newest manifest needs is removed.
// Another region's baseline, or one that a later home has claimed, is refused here. Segments are not looked
// at: what is lost of them is found by the reader, and may be had from the source.
baseline::Claim BaselineFill::claim(bool over_damaged) {
    return until_it_answers([&] {
        return baseline::claim(store_,
                               {.name = request_.region,
                                .uid = request_.uid,
                                .size_bytes = request_.size_bytes,
                                .epoch = request_.epoch,
                                .writer = means_.writer_id},
                               baseline::new_session(), over_damaged);
    });
}

baseline::Claim BaselineFill::claim_newest() {
    try {
        return claim(false);
    } catch (const StoreError& error) {
        if (error.kind() != ErrorKind::damaged) throw;
        baseline::Claim older = claim(true);
        means_.events.add(Severity::alarm, "baseline_damaged", request_.region,
                          fmt::format("{}; cut {} is taken instead", error.what(), older.newest.cut_number));
        return older;
    }
}

// A home that had the region after the source leaves segments with its own epoch, unless it changed nothing.
std::string BaselineFill::mismatch(const SourceHeader& source) const {
    const baseline::Manifest& newest = manifest();
    if (newest.cut_number < source.durable_cut)
        return fmt::format("it ends with cut {}, and the region's last home has had cut {} in it",
                           newest.cut_number, source.durable_cut);
    for (const baseline::SegmentRef& segment : newest.segments)
        if (segment.id.epoch > source.epoch)
            return fmt::format("a home with epoch {} has stored there since, and the source has epoch {}",
                               segment.id.epoch, source.epoch);
    return {};
}

void BaselineFill::disown() {
    for (uint64_t page = 0; page < settler_.pages(); ++page)
        if (reader_->names(page) || settler_.holds(page)) settler_.mark_dirty(page);
}

void BaselineFill::put(const baseline::StoredPage& page) {
    refuse_if_ended();
    if (!is_elsewhere_(page.page)) settler_.put_copy(page);
}

void BaselineFill::lost(const std::vector<baseline::Loss>& losses) {
    if (losses.empty()) return;
    const std::scoped_lock lock(mutex_);
    bool any = false;
    for (const baseline::Loss& loss : losses)
        for (const baseline::PageRange& range : loss.pages)
            for (uint64_t page = range.first; page < range.first + range.count; ++page) {
                if (page >= settler_.pages() || is_elsewhere_(page) || !lost_.insert(page).second) continue;
                any = true;
                if (request_.source) {
                    // It may have been pulled already, as a page that is in the baseline.
                    settler_.mark_dirty(page);
                    wanted_.add_for_source(page);
                } else {
                    settler_.put_damaged(page, true);
                }
            }
    if (!any) return;
    means_.events.add(request_.source ? Severity::warning : Severity::alarm, "baseline_damaged",
                      request_.region,
                      describe(losses) + (request_.source ? ": these pages are taken from the last home"
                                                          : ": reads of these pages are refused until they "
                                                            "are stored again or freed"));
}

bool BaselineFill::has_lost(uint64_t page) const {
    const std::scoped_lock lock(mutex_);
    return lost_.contains(page);
}

void BaselineFill::run() {
    server_ = std::jthread([this](const std::stop_token& stop) { serve_wanted(stop); });
    lost(reader_->losses());
    means_.workers.run([&] {
        tbb::parallel_for(size_t{0}, reader_->segment_count(), [&](size_t segment) {
            lost(until_it_answers([&] {
                return reader_->load(segment, [&](const baseline::StoredPage& page) { put(page); });
            }));
        });
    });
}

void BaselineFill::serve_wanted(const std::stop_token& stop) {
    try {
        while (!stop.stop_requested()) {
            const auto wanted = wanted_.take_for_baseline(!source_serves_.load(std::memory_order_relaxed));
            if (!wanted) {
                std::this_thread::sleep_for(kPause);
            } else if (is_elsewhere_(wanted->page)) {
                wanted_.add_for_source(wanted->page);
            } else if (!fetch(wanted->page)) {
                // The source may bring it sooner.
                if (wanted->only_here) {
                    wanted_.add_for_baseline(wanted->page);
                } else {
                    wanted_.put_back(wanted->page);
                }
                baseline::sleep_for(kAskAgain, stop);
            }
        }
    } catch (const std::exception& error) {
        // Also the end. Whatever is wrong with the store, run() meets it too.
        if (!end_.stop_requested()) progress_.say(error.what());
    }
}

// False: the store does not answer.
bool BaselineFill::fetch(uint64_t page) {
    bool found = false;
    std::vector<baseline::Loss> losses;
    try {
        losses = reader_->load_page(page, [&](const baseline::StoredPage& stored) {
            put(stored);
            found = true;
        });
    } catch (const StoreError& error) {
        refuse_if_ended();
        if (error.kind() != ErrorKind::unavailable) throw;
        progress_.say(error.what());
        return false;
    }
    lost(losses);
    if (!found && losses.empty()) settler_.put_absent(page, false);
    return true;
}

}  // namespace lagan::recovery
