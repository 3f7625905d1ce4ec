// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/recovery/baseline_fill.h"

#include <fmt/format.h>
#include <tbb/parallel_for.h>

#include <chrono>

#include "mgmt/baseline/baseline_writer.h"
#include "mgmt/baseline/interruption.h"

namespace lagan::recovery {

using baseline::ErrorKind;
using baseline::StoreError;
using namespace std::chrono_literals;

namespace {

constexpr auto kAskAgain = 500ms;
constexpr int kServedAtOnce = 64;

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
                           const std::stop_source& end, RebuildProgress& progress)
    : means_(means),
      request_(request),
      settler_(settler),
      wanted_(wanted),
      is_elsewhere_(std::move(is_elsewhere)),
      end_(end),
      store_(*means.store, end),
      progress_(progress) {
    if (!request_.source &&
        until_it_answers([&] { return baseline::list_cuts(store_, request_.region); }).empty())
        throw RebuildFailed(
            fmt::format("there is no baseline of {} in the store, and no other source", request_.region));
    until_it_answers([&] { claim(); });
    reader_ =
        until_it_answers([&] { return std::make_unique<baseline::BaselineReader>(store_, request_.region); });
    progress_.cut_number = manifest().cut_number;
    progress_.cut_time_us = manifest().cut_time_us;
    lost(reader_->losses());
}

// From here on no earlier home commits any more, and nothing that the newest manifest needs is removed.
// Another region's baseline, or one that a later home has claimed, is refused here.
void BaselineFill::claim() {
    const baseline::BaselineWriter writer(store_, {.name = request_.region,
                                                   .uid = request_.uid,
                                                   .size_bytes = request_.size_bytes,
                                                   .epoch = request_.epoch,
                                                   .writer = means_.writer_id});
}

void BaselineFill::put(const baseline::StoredPage& page) {
    refuse_if_ended();
    if (!is_elsewhere_(page.page)) settler_.put_copy(page);
}

void BaselineFill::lost(const std::vector<baseline::Loss>& losses) {
    const std::scoped_lock lock(mutex_);
    for (const baseline::Loss& loss : losses)
        for (const baseline::PageRange& range : loss.pages)
            for (uint64_t page = range.first; page < range.first + range.count; ++page) {
                if (page >= settler_.pages() || is_elsewhere_(page) || !lost_.insert(page).second) continue;
                if (request_.source) {
                    settler_.mark_dirty(
                        page);  // it may have been pulled already, as a page that is in the baseline
                    wanted_.add({page, true});
                } else {
                    settler_.put_damaged(page, true, loss.object + ": " + loss.reason, means_.events);
                }
            }
}

bool BaselineFill::has_lost(uint64_t page) const {
    const std::scoped_lock lock(mutex_);
    return lost_.contains(page);
}

void BaselineFill::run() {
    means_.workers.run([&] {
        tbb::parallel_for(size_t{0}, reader_->segment_count(), [&](size_t segment) {
            lost(until_it_answers([&] {
                return reader_->load(segment, [&](const baseline::StoredPage& page) { put(page); });
            }));
        });
    });
}

bool BaselineFill::serve_wanted() {
    std::vector<WantedQueue::Page> for_source;
    bool any = false;
    for (int i = 0; i < kServedAtOnce; ++i) {
        const auto wanted = wanted_.take();
        if (!wanted) break;
        if (wanted->dirty || is_elsewhere_(wanted->page)) {
            for_source.push_back(*wanted);
        } else {
            fetch(wanted->page);
            any = true;
        }
    }
    for (const WantedQueue::Page& page : for_source)
        wanted_.add(page);
    return any;
}

void BaselineFill::fetch(uint64_t page) {
    bool found = false;
    const auto losses = until_it_answers([&] {
        return reader_->load_page(page, [&](const baseline::StoredPage& stored) {
            put(stored);
            found = true;
        });
    });
    lost(losses);
    if (!found && losses.empty()) settler_.put_absent(page, false);
}

}  // namespace lagan::recovery
