// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/recovery/restorer.h"

#include <fmt/format.h>

#include <algorithm>

#include "mgmt/baseline/baseline_writer.h"

namespace lagan::recovery {

using State = RestoreStatus::State;

const char* to_string(State state) {
    switch (state) {
        case State::running:
            return "running";
        case State::done:
            return "done";
        case State::failed:
            break;
    }
    return "failed";
}

Restorer::Restorer(Memory memory, uint64_t writer_id, baseline::ObjectStore& store, Workers& workers,
                   EventLog& events, Control control)
    : memory_(std::move(memory)),
      writer_id_(writer_id),
      store_(store),
      workers_(workers),
      events_(events),
      control_(std::move(control)) {}

Restorer::~Restorer() {
    cancel_all();
    std::map<std::string, std::unique_ptr<Job>> jobs;
    {
        const std::scoped_lock lock(mutex_);
        jobs.swap(jobs_);
    }
    for (const auto& [name, job] : jobs)
        if (job->thread.joinable()) job->thread.join();
}

bool Restorer::begin(const RestoreRequest& request) {
    const std::scoped_lock lock(mutex_);
    auto& job = jobs_[request.region];
    if (job && job->status.state == State::running) return false;
    job = std::make_unique<Job>();  // joins the earlier one, which has ended
    job->request = request;
    job->status.region = request.region;
    job->thread = std::jthread([this, &job = *job] { run(job); });
    return true;
}

void Restorer::cancel(const std::string& region) {
    const std::scoped_lock lock(mutex_);
    const auto job = jobs_.find(region);
    if (job != jobs_.end()) job->second->progress.cancel.request_stop();
}

void Restorer::cancel_all() {
    const std::scoped_lock lock(mutex_);
    for (const auto& [name, job] : jobs_)
        job->progress.cancel.request_stop();
}

RestoreStatus Restorer::status_of(const Job& job) const {
    RestoreStatus status = job.status;
    status.cut_number = job.progress.cut_number;
    status.cut_time_us = job.progress.cut_time_us;
    status.pages = job.progress.pages;
    status.pages_done = job.progress.pages_done;
    status.bytes_read = job.progress.bytes_written;
    return status;
}

std::vector<RestoreStatus> Restorer::list() const {
    const std::scoped_lock lock(mutex_);
    std::vector<RestoreStatus> all;
    for (const auto& [name, job] : jobs_)
        all.push_back(status_of(*job));
    return all;
}

std::optional<RestoreStatus> Restorer::status(const std::string& region) const {
    const std::scoped_lock lock(mutex_);
    const auto job = jobs_.find(region);
    if (job == jobs_.end()) return {};
    return status_of(*job->second);
}

void Restorer::run(Job& job) {
    JobStore store(store_, job.progress.cancel);
    try {
        const baseline::BaselineReader reader(store, job.request.region, job.request.manifest_number);
        job.progress.cut_number = reader.manifest().cut_number;
        job.progress.cut_time_us = reader.manifest().cut_time_us;
        fill(job, store, reader);
    } catch (const RestoreFailed& failed) {
        finish(job, State::failed, failed.what(), failed.losses);
    } catch (const std::exception& error) {
        finish(job, State::failed,
               job.progress.cancel.stop_requested() ? "the restore was cancelled" : error.what());
    }
}

void Restorer::fill(Job& job, baseline::ObjectStore& store, const baseline::BaselineReader& reader) {
    memory::Region& region = control_.make_region(job.request, reader.manifest());
    uint64_t damaged = 0;
    try {
        damaged = workers_.run([&] { return restore_pages(memory_, region, reader, job.progress); });
        control_.complete(region, claim(store, region, reader.manifest()));
    } catch (...) {
        control_.drop(region);
        throw;
    }
    {
        const std::scoped_lock lock(mutex_);
        job.status.damaged_pages = damaged;
    }
    finish(
        job, State::done,
        fmt::format(
            "restored to cut {}: {} pages{}", job.progress.cut_number.load(), job.progress.pages_done.load(),
            damaged == 0
                ? ""
                : fmt::format(", {} of them damaged when they were stored: reads of these are refused",
                              damaged)));
}

// From here on whoever had the region before cannot commit any more. Unless the baseline's newest cut is what
// was restored, all pages are dirty: the next checkpoint replaces whatever it holds. Returns the cut to go on
// counting from.
uint64_t Restorer::claim(baseline::ObjectStore& store, memory::Region& region,
                         const baseline::Manifest& restored) const {
    const baseline::RegionIdentity identity{.name = region.name,
                                            .uid = region.uid,
                                            .size_bytes = region.size_bytes,
                                            .epoch = region.epoch,
                                            .writer = writer_id_};
    const auto mark_all = [&region] {
        for (uint64_t page = 0; page < region.page_count; ++page)
            region.active().mark(page);
    };
    try {
        const baseline::BaselineWriter writer(store, identity);
        const baseline::Manifest newest = writer.newest();
        const auto same = [](const baseline::SegmentRef& a, const baseline::SegmentRef& b) {
            return a.id == b.id;
        };
        if (newest.cut_number != restored.cut_number ||
            !std::equal(newest.segments.begin(), newest.segments.end(), restored.segments.begin(),
                        restored.segments.end(), same))
            mark_all();
        return newest.cut_number;
    } catch (const baseline::StoreError& error) {
        if (error.kind() != baseline::ErrorKind::damaged) throw;
    }
    // An older cut was restored because the newest cannot be read.
    const baseline::BaselineWriter writer(store, identity, baseline::WriterOptions{.start_over = true});
    mark_all();
    return std::max(restored.cut_number, writer.newest().cut_number);
}

void Restorer::finish(Job& job, State state, const std::string& text, std::vector<baseline::Loss> losses) {
    const bool good = state == State::done;
    events_.add(good ? Severity::info : Severity::alarm, good ? "restore_done" : "restore_failed",
                job.request.region, text);
    const std::scoped_lock lock(mutex_);
    if (!good) job.status.problem = text;
    job.status.losses = std::move(losses);
    job.status.state = state;
}

}  // namespace lagan::recovery
