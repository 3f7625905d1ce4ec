// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/recovery/rebuilder.h"

#include <fmt/format.h>

#include <algorithm>

namespace lagan::recovery {

Rebuilder::Rebuilder(Memory memory, uint64_t writer_id, baseline::ObjectStore* store, Workers& workers,
                     EventLog& events, Connect connect, Control control)
    : memory_(std::move(memory)),
      means_{.memory = memory_,
             .connect = std::move(connect),
             .store = store,
             .writer_id = writer_id,
             .workers = workers,
             .events = events},
      control_(std::move(control)) {}

Rebuilder::~Rebuilder() {
    cancel_all();
    std::map<std::string, std::shared_ptr<Job>> jobs;
    {
        const std::scoped_lock lock(mutex_);
        jobs.swap(jobs_);
    }
    for (const auto& [name, job] : jobs)
        if (job->thread.joinable()) job->thread.join();
}

void Rebuilder::cancel_all() {
    const std::scoped_lock lock(mutex_);
    closed_ = true;
    for (const auto& [name, job] : jobs_)
        job->progress.cancel.request_stop();
}

void Rebuilder::begin(memory::Region& region, const RebuildRequest& request) {
    const std::scoped_lock lock(mutex_);
    if (closed_) return;
    auto& job = jobs_[request.region];
    if (job && !job->ended) {
        const std::scoped_lock source_lock(job->progress.mutex);
        if (request.source) job->progress.source = request.source;
        return;
    }
    job = std::make_shared<Job>();  // the earlier one has ended, and is joined here or by forget()
    job->request = request;
    job->region = &region;
    job->progress.source = request.source;
    job->thread = std::jthread([this, &job = *job] { run(job); });
}

bool Rebuilder::forget(const std::string& region, uint64_t epoch, std::chrono::milliseconds patience) {
    std::shared_ptr<Job> job;  // goes, and joins its thread, without the lock
    std::unique_lock lock(mutex_);
    const auto found = jobs_.find(region);
    if (found == jobs_.end() || (epoch != 0 && found->second->request.epoch != epoch)) return true;
    job = found->second;
    job->progress.cancel.request_stop();
    if (!ended_.wait_for(lock, patience, [&] { return job->ended; })) return false;
    // Meanwhile somebody else may have forgotten it, and another may have been begun.
    const auto now = jobs_.find(region);
    if (now == jobs_.end()) return true;
    if (now->second != job) return false;
    jobs_.erase(now);
    return true;
}

bool Rebuilder::is_running(const std::string& region) const {
    const std::scoped_lock lock(mutex_);
    const auto job = jobs_.find(region);
    return job != jobs_.end() && !job->second->ended;
}

RebuildStatus Rebuilder::status_of(const Job& job) const {
    const RebuildProgress& progress = job.progress;
    RebuildStatus status;
    status.region = job.request.region;
    status.uid = job.request.uid;
    status.epoch = job.request.epoch;
    status.state = progress.state;
    {
        const std::scoped_lock lock(progress.mutex);
        status.problem = progress.problem;
    }
    status.pages_listed = progress.pages_listed;
    status.pages_pulled = progress.pages_pulled;
    status.pages_from_baseline = progress.pages_from_baseline;
    status.pages_pending = job.ended ? job.pending.load() : job.region->pending.load();
    status.damaged_pages = progress.damaged_pages;
    const auto time = (job.ended ? job.end : Clock::now()) - job.begin;
    status.seconds = std::chrono::duration<double>(time).count();
    status.bytes_per_s = static_cast<uint64_t>(
        static_cast<double>((status.pages_pulled + status.pages_from_baseline) * memory::kPageBytes) /
        std::max(status.seconds, 1e-6));
    if (const uint64_t first = progress.first_page_us; first != 0)
        status.first_page_ms = static_cast<double>(first) / 1000;
    status.fenced = progress.fenced;
    status.rolled_back = !job.request.source;
    status.cut_number = progress.cut_number;
    status.cut_time_us = progress.cut_time_us;
    return status;
}

std::vector<RebuildStatus> Rebuilder::list() const {
    const std::scoped_lock lock(mutex_);
    std::vector<RebuildStatus> all;
    for (const auto& [name, job] : jobs_)
        all.push_back(status_of(*job));
    return all;
}

std::optional<RebuildStatus> Rebuilder::status(const std::string& region) const {
    const std::scoped_lock lock(mutex_);
    const auto job = jobs_.find(region);
    if (job == jobs_.end()) return {};
    return status_of(*job->second);
}

void Rebuilder::run(Job& job) {
    means_.workers.run([] {});  // from here on this thread keeps off the poll lcores
    try {
        const uint64_t cut = rebuild(means_, *job.region, job.request, job.progress);
        control_.complete(*job.region, cut);
        const uint64_t damaged = job.progress.damaged_pages;
        finish(job, RebuildState::done,
               fmt::format("rebuilt with epoch {}: {} pages from {}, {} from its baseline{}",
                           job.request.epoch, job.progress.pages_pulled.load(),
                           job.request.source ? job.progress.where()->address : "nowhere",
                           job.progress.pages_from_baseline.load(),
                           damaged == 0 ? "" : fmt::format("; {} pages are damaged", damaged)));
    } catch (const std::exception& error) {
        finish(job, RebuildState::failed, error.what());
    }
}

void Rebuilder::finish(Job& job, RebuildState state, const std::string& text) {
    const bool good = state == RebuildState::done;
    if (!job.progress.cancel.stop_requested())
        means_.events.add(good ? Severity::info : Severity::alarm, good ? "rebuild_done" : "rebuild_failed",
                          job.request.region, text);
    job.progress.say(good ? "" : text);
    job.progress.state = state;
    const std::scoped_lock lock(mutex_);
    job.pending = job.region->pending.load();
    job.end = Clock::now();
    job.ended = true;
    ended_.notify_all();
}

}  // namespace lagan::recovery
