// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/recovery/rebuild.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <thread>

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

constexpr auto kPause = 200us;  // between looks for wanted pages
constexpr auto kFirstRetry = 100ms, kLastRetry = 2000ms;

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
            // Nothing pending: the process before this one was killed when all was here but the end. It had
            // fenced the source before the first page came.
            const bool asks_source = request_.source && (settler_.pending() != 0 || !request_.baseline);
            if (request_.source && !asks_source) progress_.fenced = true;
            const uint64_t cut = asks_source ? from_source() : from_baseline();
            settle_rest();
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
    void refuse_if_cancelled() const {
        if (end_.stop_requested()) throw RebuildFailed("cancelled", true);
    }

    // ---- the baseline, on a thread of its own ----

    void start_baseline() {
        if (!request_.baseline) {
            baseline_ended_ = true;
            return;
        }
        baseline_thread_ = std::jthread([this] {
            try {
                fill_ = std::make_unique<BaselineFill>(
                    means_, request_, settler_, wanted_,
                    [this](uint64_t page) { return lists_ && lists_->contains(page); }, end_, progress_);
                if (lists_) check_age();
                fill_ready_.store(fill_.get(), std::memory_order_release);
                fill_->run();
            } catch (...) {
                baseline_error_ = std::current_exception();
            }
            baseline_ended_.store(true, std::memory_order_release);
        });
    }
    // What is in the baseline by the source's own word has to be there.
    void check_age() const {
        const uint64_t there = fill_->manifest().cut_number, durable = lists_->header.durable_cut;
        if (there < durable)
            throw RebuildFailed(
                fmt::format("the baseline of {} ends with cut {}, and its last home has had cut {} in it: it "
                            "is another store, or has been set back",
                            request_.region, there, durable));
    }
    // Throws what it ended with.
    bool baseline_done() {
        if (!baseline_ended_.load(std::memory_order_acquire)) return false;
        if (baseline_error_) std::rethrow_exception(baseline_error_);
        return true;
    }
    // What the baseline can do for those who wait.
    void serve_for(std::chrono::microseconds time) {
        const auto end = Clock::now() + time;
        do {
            refuse_if_cancelled();
            BaselineFill* fill = fill_ready_.load(std::memory_order_acquire);
            if (fill == nullptr || !fill->serve_wanted()) std::this_thread::sleep_for(kPause);
        } while (Clock::now() < end);
    }
    void finish_baseline() {
        while (!baseline_done())
            serve_for(kPause);
    }

    uint64_t from_baseline() {
        progress_.state = RebuildState::rebuilding;
        start_baseline();
        finish_baseline();
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
            SourceLists lists = read_lists(*source, wanted);
            if (!request_.baseline) present_ = read_present(*source, lists.header);
            progress_.pages_listed = lists.drain.count() + lists.active.count() + present_.count();
            lists_ = std::make_unique<const SourceLists>(std::move(lists));
        }
        return source;
    }
    std::unique_ptr<SourceConnection> reach() {
        for (std::chrono::microseconds pause = kFirstRetry;;
             pause = std::min<decltype(pause)>(2 * pause, kLastRetry)) {
            try {
                auto source = attempt();
                progress_.say("");
                progress_.state = RebuildState::rebuilding;
                return source;
            } catch (const SourceError& error) {
                if (error.why == Why::invalid || error.why == Why::cancelled) throw;
                lose(error.what());
            }
            serve_for(pause);
        }
    }
    void lose(const std::string& why) {
        progress_.say(why);
        if (progress_.state.exchange(RebuildState::source_lost) == RebuildState::source_lost) return;
        means_.events.add(Severity::warning, "rebuild_source_lost", request_.region,
                          why + ": it is asked again until it answers");
    }

    uint64_t from_source() {
        std::unique_ptr<SourceConnection> source = reach();
        start_baseline();
        pull(std::move(source));
        finish_baseline();
        // What the source had cut and not committed is dirty here: durable is what the baseline has.
        return fill_ ? fill_->manifest().cut_number : lists_->header.cut_number;
    }
    void pull(std::unique_ptr<SourceConnection> source) {
        PagePull pull(means_, settler_, wanted_, *lists_, present_, request_.baseline, progress_);
        while (true) {
            try {
                return pull.run(*source, [this] { return baseline_done(); });
            } catch (const SourceError& error) {
                if (error.why == Why::invalid || error.why == Why::cancelled) throw;
                progress_.say(error.what());
            }
            source.reset();
            if (pull.lists_done()) return;  // the baseline has the rest
            source = reach();
        }
    }

    // Nobody has these.
    void settle_rest() {
        for (uint64_t page = 0; page < region_.page_count && settler_.pending() != 0; ++page) {
            if (!settler_.is_pending(page)) continue;
            if (page % 65536 == 0) refuse_if_cancelled();
            if (fill_ && fill_->has_lost(page)) {
                settler_.put_damaged(page, true, "its baseline has lost it, and its last home is gone",
                                     means_.events);
            } else {
                settler_.put_absent(page, false);
            }
        }
    }

    const RebuildMeans& means_;
    const RebuildRequest& request_;
    RebuildProgress& progress_;
    memory::Region& region_;
    Settler settler_;
    WantedQueue wanted_;
    std::stop_source end_;  // this is cancelled, or ends with an error: so must the baseline's thread
    std::stop_callback<std::function<void()>> cancelled_{progress_.cancel.get_token(),
                                                         [this] { end_.request_stop(); }};
    std::unique_ptr<const SourceLists> lists_;  // before the baseline's thread begins; then constant
    PageSet present_;
    std::unique_ptr<BaselineFill> fill_;  // the baseline's thread's, until it is ready
    std::atomic<BaselineFill*> fill_ready_{nullptr};
    std::exception_ptr baseline_error_;  // before baseline_ended_
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
