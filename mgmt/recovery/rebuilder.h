// SPDX-License-Identifier: BSD-3-Clause
// The rebuilds of an appliance, each on a thread of its own.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "mgmt/recovery/rebuild.h"

namespace lagan::recovery {

struct RebuildStatus {
    std::string region;
    uint64_t uid = 0, epoch = 0;
    RebuildState state = RebuildState::fencing;
    std::string problem;  // failed: why, and what to do; else what it waits for, if anything
    uint64_t pages_listed = 0, pages_pulled = 0, pages_from_baseline = 0, pages_pending = 0;
    uint64_t damaged_pages = 0;
    uint64_t bytes_per_s = 0;  // from both, since it began, or until it ended
    std::optional<double> first_page_ms;
    bool fenced = false;       // the old home has said that it stores nothing any more
    bool rolled_back = false;  // to this cut, of the baseline
    uint64_t cut_number = 0, cut_time_us = 0;
    double seconds = 0;
};

class Rebuilder {
  public:
    // What only the control thread may do; called from a rebuild's thread, waits until it is done, and passes
    // its exceptions on.
    struct Control {
        std::function<void(memory::Region&, uint64_t cut_number)> complete;
    };

    // `store` may be null; all outlive it.
    Rebuilder(Memory memory, uint64_t writer_id, baseline::ObjectStore* store, Workers& workers,
              EventLog& events, Connect connect, Control control);
    // Cancels what runs, and waits; `control` must still answer, if only with exceptions.
    ~Rebuilder();
    Rebuilder(const Rebuilder&) = delete;
    Rebuilder& operator=(const Rebuilder&) = delete;

    // The region has been made for it, and is rebuilding. With a rebuild of the same epoch under way, that
    // one is told where the source is now. One that has ended begins again.
    void begin(memory::Region& region, const RebuildRequest& request);
    // Any thread, for the end. None begins any more.
    void cancel_all();
    // Cancels it, if it is of this epoch (0: of any), and waits. When it returns true, nobody uses the region
    // of that epoch but its clients, and nothing is known of the rebuild any more. False: it has not ended
    // yet.
    bool forget(const std::string& region, uint64_t epoch, std::chrono::milliseconds patience);
    bool is_running(const std::string& region) const;
    std::vector<RebuildStatus> list() const;  // the newest of each region
    std::optional<RebuildStatus> status(const std::string& region) const;

  private:
    using Clock = std::chrono::steady_clock;

    struct Job {
        RebuildRequest request;
        memory::Region* region = nullptr;  // its thread's
        RebuildProgress progress;
        std::atomic<uint64_t> pending{0};               // once it has ended: the region may be gone
        bool ended = false;                             // under mutex_
        Clock::time_point begin = Clock::now(), end{};  // under mutex_
        std::jthread thread;                            // last
    };

    void run(Job& job);
    void finish(Job& job, RebuildState state, const std::string& text);
    RebuildStatus status_of(const Job& job) const;

    const Memory memory_;
    const RebuildMeans means_;
    const Control control_;
    mutable std::mutex mutex_;
    std::condition_variable ended_;
    bool closed_ = false;                               // under mutex_
    std::map<std::string, std::shared_ptr<Job>> jobs_;  // under mutex_
};

}  // namespace lagan::recovery
