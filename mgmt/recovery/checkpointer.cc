// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/recovery/checkpointer.h"

#include <fmt/format.h>

#include <algorithm>

namespace lagan::recovery {

using baseline::ErrorKind;
using baseline::StoreError;
using namespace std::chrono_literals;

namespace {

constexpr auto kFirstRetry = 1s;
constexpr auto kLongestRetry = 60s;
constexpr unsigned kMaxDoublings = 6;

// Every page that holds something is dirty: the baseline has nothing, or nothing that can be trusted.
void mark_everything(memory::Region& region) {
    for (uint64_t page = 0; page < region.page_count; ++page)
        if (!memory::is_empty(region.page_table[page].load(std::memory_order_acquire)))
            region.active().mark(page);
}

}  // namespace

const char* to_string(CheckpointStatus::State state) {
    switch (state) {
        case CheckpointStatus::State::none:
            return "none";
        case CheckpointStatus::State::waiting:
            return "waiting";
        case CheckpointStatus::State::running:
            return "running";
        case CheckpointStatus::State::done:
            return "done";
        case CheckpointStatus::State::failed:
            break;
    }
    return "failed";
}

Checkpointer::Checkpointer(Memory memory, uint64_t writer_id, baseline::ObjectStore& store,
                           CheckpointPolicy policy, Workers& workers, EventLog& events)
    : memory_(std::move(memory)),
      writer_id_(writer_id),
      store_(store),
      policy_(policy),
      workers_(workers),
      events_(events),
      thread_([this](const std::stop_token& stop) { run(stop); }) {}

Checkpointer::~Checkpointer() {
    cancel_all();
}

void Checkpointer::cancel_all() {
    thread_.request_stop();
    const std::scoped_lock lock(mutex_);
    for (const auto& [id, job] : jobs_)
        job->progress.cancel.request_stop();
}

bool Checkpointer::request(memory::Region& region) {
    const std::scoped_lock lock(mutex_);
    auto& job = jobs_[region.id];
    if (!job) job = std::make_unique<Job>(store_);
    if (job->status.state == State::waiting || job->status.state == State::running) return false;
    job->region = &region;
    job->progress.cancel = std::stop_source();
    job->status.state = State::waiting;
    queue_.push_back(region.id);
    wake_.notify_all();
    return true;
}

void Checkpointer::cancel(uint32_t region_id) {
    const std::scoped_lock lock(mutex_);
    const auto job = jobs_.find(region_id);
    if (job != jobs_.end()) job->second->progress.cancel.request_stop();
}

bool Checkpointer::busy(uint32_t region_id) const {
    const std::scoped_lock lock(mutex_);
    const auto job = jobs_.find(region_id);
    return job != jobs_.end() &&
           (job->second->status.state == State::waiting || job->second->status.state == State::running);
}

void Checkpointer::forget(uint32_t region_id) {
    const std::scoped_lock lock(mutex_);
    jobs_.erase(region_id);
}

CheckpointStatus Checkpointer::status(uint32_t region_id) const {
    const std::scoped_lock lock(mutex_);
    const auto found = jobs_.find(region_id);
    if (found == jobs_.end()) return {};
    const Job& job = *found->second;
    CheckpointStatus status = job.status;
    status.cut_number = job.progress.cut_number;
    status.cut_time_us = job.progress.cut_time_us;
    status.pages = job.progress.pages;
    status.pages_done = job.progress.pages_done;
    status.bytes_written = job.progress.bytes_written;
    if (status.state == State::none || status.state == State::waiting) return status;
    const auto until = status.state == State::running ? Clock::now() : job.end;
    status.seconds = std::chrono::duration<double>(until - job.begin).count();
    return status;
}

bool Checkpointer::due(const memory::Region& region, const Job& job, Clock::time_point now) const {
    switch (job.status.state) {
        case State::waiting:
        case State::running:
            return false;
        case State::failed:
            if (now < job.next_attempt) return false;
            if (job.status.tried_again) return true;
            break;  // cancelled a while ago, or only made when asked for
        case State::none:
            // Was interrupted, by the end of an earlier process.
            if (region.dirty->cut_number() > region.dirty->durable_cut()) return true;
            break;
        case State::done:
            break;
    }
    const uint64_t dirty = region.active().count();
    if (dirty == 0) return false;
    if (policy_.interval_seconds != 0 && now - job.begin >= std::chrono::seconds(policy_.interval_seconds))
        return true;
    return policy_.dirty_percent != 0 && dirty * 100 >= region.page_count * policy_.dirty_percent;
}

void Checkpointer::request_due(const std::vector<memory::Region*>& regions) {
    const auto now = Clock::now();
    for (memory::Region* region : regions) {
        if (region->temporary || region->restoring || region->rebuilding || region->lease.is_fenced())
            continue;
        bool wanted = false;
        {
            const std::scoped_lock lock(mutex_);
            auto& job = jobs_[region->id];
            if (!job) {
                job = std::make_unique<Job>(store_);
                job->begin = now;  // the first interval begins when the region is first seen
            }
            wanted = due(*region, *job, now);
        }
        if (wanted) request(*region);
    }
}

void Checkpointer::run(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
        Job* job = nullptr;
        {
            std::unique_lock lock(mutex_);
            if (!wake_.wait(lock, stop, [this] { return !queue_.empty(); })) return;
            job = jobs_.at(queue_.front()).get();  // waiting: nobody forgets it
            queue_.pop_front();
            job->status.state = State::running;
            job->status.problem.clear();
            job->begin = Clock::now();
            Progress& p = job->progress;
            for (auto* figure : {&p.cut_number, &p.cut_time_us, &p.pages, &p.pages_done, &p.bytes_written})
                *figure = 0;
        }
        attempt(*job);
    }
}

void Checkpointer::attempt(Job& job) {
    try {
        const baseline::CommitResult result = workers_.run([&] {
            if (!job.writer) open_writer(job);
            return make_checkpoint(memory_, *job.region, *job.writer, policy_.bytes_per_s, job.progress);
        });
        finish(job, result);
    } catch (const CheckpointGivenUp& given_up) {
        fail(job, given_up.what(), given_up.why == CheckpointGivenUp::Why::no_room);
    } catch (const StoreError& error) {
        // Opened anew next time: it may be another baseline by then, or none.
        job.writer.reset();
        fail(job, job.progress.cancel.stop_requested() ? "the checkpoint was cancelled" : error.what(),
             error.kind() == ErrorKind::unavailable || error.kind() == ErrorKind::no_space);
    } catch (const std::exception& error) {
        fail(job, error.what(), true);
    }
}

void Checkpointer::open_writer(Job& job) const {
    memory::Region& region = *job.region;
    const baseline::RegionIdentity identity{.name = region.name,
                                            .uid = region.uid,
                                            .size_bytes = region.size_bytes,
                                            .epoch = region.epoch,
                                            .writer = writer_id_};
    const auto open = [&](bool start_over) {
        job.writer = std::make_unique<baseline::BaselineWriter>(
            job.store, identity, baseline::WriterOptions{.start_over = start_over});
    };
    try {
        open(false);
        if (job.writer->newest().cut_number >= region.dirty->durable_cut()) return;
        events_.add(
            Severity::warning, "baseline_behind", region.name,
            fmt::format(
                "{} has cut {} of the region, which had cut {} in a baseline: another store, or an old copy "
                "of it. All pages are stored again",
                store_.where(), job.writer->newest().cut_number, region.dirty->durable_cut()));
        job.writer.reset();
    } catch (const StoreError& error) {
        if (error.kind() != ErrorKind::damaged) throw;
        events_.add(Severity::alarm, "baseline_damaged", region.name,
                    fmt::format("{}; all pages are stored again", error.what()));
    }
    mark_everything(region);
    open(true);
}

void Checkpointer::finish(Job& job, const baseline::CommitResult& result) {
    memory::Region& region = *job.region;
    const std::string name = region.name;  // the region may go as soon as the state says done
    // The region has them still: the next checkpoint brings them again.
    for (const baseline::Loss& loss : result.losses) {
        for (const baseline::PageRange& range : loss.pages)
            for (uint64_t page = range.first; page < range.first + range.count; ++page)
                region.active().mark(page);
        events_.add(Severity::warning, "baseline_damaged", region.name,
                    fmt::format("{}: {}; its pages are stored again", loss.object, loss.reason));
    }
    if (!result.cleanup_problem.empty())
        events_.add(Severity::warning, "baseline_cleanup", region.name, result.cleanup_problem);
    const baseline::WriterStats stats = job.writer->stats();
    const uint64_t cut = job.progress.cut_number, pages = job.progress.pages;
    double seconds = 0;
    {
        const std::scoped_lock lock(mutex_);
        job.end = Clock::now();
        seconds = std::chrono::duration<double>(job.end - job.begin).count();
        job.status.state = State::done;
        job.status.tried_again = false;
        job.status.failures = 0;
        job.status.live_bytes = stats.live_bytes;
        job.status.stored_bytes = stats.stored_bytes;
    }
    events_.add(Severity::info, "checkpoint_done", name,
                fmt::format("cut {}: {} pages in {:.2f} s", cut, pages, seconds));
}

void Checkpointer::fail(Job& job, const std::string& problem, bool may_pass) {
    const bool cancelled = job.progress.cancel.stop_requested();
    const std::string name = job.region->name;  // the region may go as soon as the state says failed
    {
        const std::scoped_lock lock(mutex_);
        job.end = Clock::now();
        job.status.state = State::failed;
        job.status.problem = problem;
        // What somebody has to mend may have been mended a minute later.
        const bool automatic = policy_.interval_seconds != 0 || policy_.dirty_percent != 0;
        job.status.tried_again = !cancelled && (may_pass || automatic);
        const auto doublings =
            static_cast<unsigned>(std::min<uint64_t>(job.status.failures++, kMaxDoublings));
        const auto backoff = std::min<Clock::duration>(kFirstRetry * (1U << doublings), kLongestRetry);
        job.next_attempt = job.end + (may_pass ? backoff : kLongestRetry);
    }
    if (cancelled) {
        events_.add(Severity::info, "checkpoint_cancelled", name, problem);
    } else {
        events_.add(Severity::alarm, "checkpoint_failed", name,
                    problem + (may_pass ? "; it is tried again" : ""));
    }
}

}  // namespace lagan::recovery
