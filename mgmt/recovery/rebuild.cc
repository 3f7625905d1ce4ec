// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/recovery/rebuild.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "mgmt/baseline/interruption.h"
#include "mgmt/recovery/baseline_fill.h"
#include "mgmt/recovery/page_pull.h"

namespace lagan::recovery {

using Clock = std::chrono::steady_clock;
using Why = SourceError::Why;
using namespace std::chrono_literals;

const char* to_string(RebuildState state) {
    switch (state) {
        case RebuildState::fencing:
            return "fencing";
        case RebuildState::reading_lists:
            return "reading_lists";
        case RebuildState::rebuilding:
            return "rebuilding";
        case RebuildState::source_lost:
            return "source_lost";
        case RebuildState::done:
            return "done";
        case RebuildState::failed:
            break;
    }
    return "failed";
}

namespace {

constexpr auto kPause = 1ms;  // between looks whether the baseline is through
constexpr Clock::duration kFirstRetry = 100ms, kLastRetry = 2000ms;

class Rebuild {
  public:
    Rebuild(const RebuildMeans& means, memory::Region& region, const RebuildRequest& request,
            RebuildProgress& progress)
        : means_(means),
          request_(request),
          progress_(progress),
          region_(region),
          settler_(means.memory, region, progress),
          wanted_(region) {}

    uint64_t run() {
        try {
            const uint64_t cut = fill_in();
            settle_rest();
            end_.request_stop();  // whoever serves clients still
            return cut;
        } catch (const SourceError& error) {
            end_.request_stop();
            if (error.why == Why::cancelled) throw RebuildFailed("cancelled", true);
            throw;
        } catch (...) {
            end_.request_stop();
            throw;
        }
    }

  private:
    uint64_t fill_in() {
        if (settler_.pending() == 0 && request_.baseline) return whole_already();
        return request_.source ? from_source() : from_baseline();
    }
    void refuse_if_cancelled() const {
        if (end_.stop_requested()) throw RebuildFailed("cancelled", true);
    }
    void rest(Clock::duration time) const {
        baseline::sleep_for(time, end_.get_token());
        refuse_if_cancelled();
    }

    // ---- the baseline, on a thread of its own ----

    void open_baseline() {
        fill_ = std::make_unique<BaselineFill>(
            means_, request_, settler_, wanted_,
            [this](uint64_t page) { return lists_ && lists_->contains(page); }, source_serves_, end_,
            progress_);
    }
    void start_baseline() {
        if (!request_.baseline) {
            baseline_ended_ = true;
            return;
        }
        baseline_thread_ = std::jthread([this] {
            try {
                open_baseline();
                if (lists_) mismatch_ = fill_->mismatch(lists_->header);
                if (mismatch_.empty()) {
                    baseline_fits_.store(true, std::memory_order_release);
                    fill_->run();
                }
            } catch (...) {
                baseline_error_ = std::current_exception();
            }
            baseline_ended_.store(true, std::memory_order_release);
        });
    }
    // Throws what it ended with.
    bool baseline_done() {
        refuse_if_cancelled();
        if (!baseline_ended_.load(std::memory_order_acquire)) return false;
        if (baseline_error_) std::rethrow_exception(baseline_error_);
        return true;
    }

    uint64_t from_baseline() {
        progress_.state = RebuildState::rebuilding;
        start_baseline();
        while (!baseline_done())
            rest(kPause);
        return fill_->manifest().cut_number;
    }
    // The process before this one was killed when all was here but the end. It had fenced the source before
    // the first page came; which pages the baseline has so it alone knew.
    uint64_t whole_already() {
        progress_.state = RebuildState::rebuilding;
        open_baseline();
        if (request_.source) {
            progress_.fenced = true;
            fill_->disown();
        }
        return fill_->manifest().cut_number;
    }

    // ---- the source ----

    // A connection to the source, fenced; its lists are known then.
    std::unique_ptr<SourceConnection> attempt() {
        const SourceAddress where = *progress_.where();
        const Wanted wanted{request_.uid, request_.epoch, request_.size_bytes, where.epoch};
        auto source = std::make_unique<SourceConnection>(means_.connect, where,
                                                         [this] { return end_.stop_requested(); });
        read_header(*source, wanted);  // nobody else's region is fenced
        source->fence(request_.epoch);
        progress_.fenced = true;
        if (!lists_) {
            progress_.state = RebuildState::reading_lists;
            lists_ = std::make_unique<const SourceLists>(read_lists(*source, wanted));
            progress_.pages_listed = lists_->drain.count() + lists_->active.count();
        }
        if (takes_all_ && !present_) {
            present_ = std::make_unique<const PageSet>(read_present(*source, lists_->header));
            progress_.pages_listed += present_->count();
        }
        return source;
    }
    // Null: it does not answer. `missed`: the region cannot be whole without it.
    std::unique_ptr<SourceConnection> try_to_reach(bool missed) {
        try {
            auto source = attempt();
            progress_.say("");
            progress_.state = RebuildState::rebuilding;
            return source;
        } catch (const SourceError& error) {
            if (error.why == Why::invalid || error.why == Why::cancelled) throw;
            progress_.say(error.what());
            if (missed) lose(error.what());
        }
        back_off();
        return nullptr;
    }
    // Between attempts that bring nothing, whether or not they get a connection.
    void back_off() {
        rest(retry_);
        retry_ = std::min(2 * retry_, kLastRetry);
    }
    void lose(const std::string& why) {
        if (progress_.state.exchange(RebuildState::source_lost) == RebuildState::source_lost) return;
        means_.events.add(Severity::warning, "rebuild_source_lost", request_.region,
                          why + ": it is asked again until it answers");
    }

    uint64_t from_source() {
        pull([this] { start_baseline(); });
        if (!mismatch_.empty()) {
            means_.events.add(Severity::warning, "rebuild_without_baseline", request_.region,
                              fmt::format("the baseline is of no use: {}. All pages are taken from the "
                                          "region's last home, and stored again",
                                          mismatch_));
            fill_->disown();
            takes_all_ = true;
            pull([] {});
        }
        // What the source had cut and not committed is dirty here: durable is what the baseline has.
        return fill_ ? fill_->manifest().cut_number : lists_->header.cut_number;
    }
    // All that needs the source; `connected`: called once, when its lists are known.
    void pull(const std::function<void()>& connected) {
        std::unique_ptr<SourceConnection> source;
        while (!source)
            source = try_to_reach(true);
        connected();
        const PageSet none;
        PagePull pull(means_, settler_, wanted_, *lists_, present_ ? *present_ : none, !takes_all_,
                      baseline_fits_, progress_);
        while (!pull_some(pull, *source)) {
            source.reset();
            for (const auto lost = Clock::now(); !source; source = try_to_reach(is_missed(pull))) {
                if (done_without_source(pull)) return;
                if (Clock::now() - lost > means_.patience && !is_missed(pull) && baseline_done()) return;
            }
        }
    }
    // False: the connection has ended.
    bool pull_some(PagePull& pull, SourceConnection& source) {
        const uint64_t before = pull.brought();
        source_serves_ = true;
        try {
            pull.run(source, [this] { return baseline_done(); });
            return true;
        } catch (const SourceError& error) {
            if (error.why == Why::invalid || error.why == Why::cancelled) throw;
            progress_.say(error.what());
        }
        source_serves_ = false;
        if (pull.brought() == before) {
            back_off();
        } else {
            retry_ = kFirstRetry;
        }
        return false;
    }
    // Waits until the baseline is through, or leaves something for the source.
    bool done_without_source(const PagePull& pull) {
        while (pull.is_done()) {
            if (baseline_done()) return pull.is_done();  // looked at again, behind the baseline's last page
            rest(kPause);
        }
        return false;
    }
    // Or else nothing needs it but pages that the baseline has lost: a region without them is more than none.
    bool is_missed(const PagePull& pull) {
        if (takes_all_ || !pull.lists_done()) return true;
        const std::vector<uint64_t> pages = wanted_.for_source();
        return std::any_of(pages.begin(), pages.end(),
                           [this](uint64_t page) { return lists_->contains(page); });
    }

    // Nobody has these. Where no baseline was looked at, it may have some of a home that was given up: dirty,
    // so that the next checkpoint says that they are free.
    void settle_rest() {
        uint64_t damaged = 0;
        for (uint64_t page = 0; page < region_.page_count && settler_.pending() != 0; ++page) {
            if (page % 65536 == 0) refuse_if_cancelled();
            if (!settler_.is_pending(page)) continue;
            if (fill_ && fill_->has_lost(page)) {
                damaged += settler_.put_damaged(page, true) ? 1 : 0;
            } else {
                settler_.put_absent(page, !request_.baseline);
            }
        }
        if (damaged == 0) return;
        means_.events.add(Severity::alarm, "pages_damaged", request_.region,
                          fmt::format("{} pages are damaged: the baseline has lost them, and the region's "
                                      "last home does not answer; reads of them are refused until they are "
                                      "stored again or freed",
                                      damaged));
    }

    const RebuildMeans& means_;
    const RebuildRequest& request_;
    RebuildProgress& progress_;
    memory::Region& region_;
    Settler settler_;
    WantedQueue wanted_;
    std::stop_source end_;  // this is cancelled, or ends: so must the baseline's threads
    std::stop_callback<std::function<void()>> cancelled_{progress_.cancel.get_token(),
                                                         [this] { end_.request_stop(); }};
    Clock::duration retry_ = kFirstRetry;
    bool takes_all_ = !request_.baseline;       // from the source
    std::unique_ptr<const SourceLists> lists_;  // before the baseline's thread begins; then constant
    std::unique_ptr<const PageSet> present_;
    std::atomic<bool> source_serves_{false};  // those who wait for pages, at the moment
    std::unique_ptr<BaselineFill> fill_;      // with these, the baseline's thread's, until it has ended:
    std::string mismatch_;                    // why it cannot be used
    std::atomic<bool> baseline_fits_{false};
    std::exception_ptr baseline_error_;
    std::atomic<bool> baseline_ended_{false};
    std::jthread baseline_thread_;  // last: it uses all of the above
};

}  // namespace

uint64_t rebuild(const RebuildMeans& means, memory::Region& region, const RebuildRequest& request,
                 RebuildProgress& progress) {
    Rebuild work(means, region, request, progress);
    return work.run();
}

}  // namespace lagan::recovery
