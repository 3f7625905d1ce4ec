// SPDX-License-Identifier: BSD-3-Clause
// Makes checkpoints of an appliance's regions, one after the other, on a thread of its own: when asked, when
// they are due, and again after a failure that may pass.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "mgmt/baseline/object_store.h"
#include "mgmt/recovery/checkpoint.h"
#include "mgmt/recovery/events.h"
#include "mgmt/recovery/workers.h"

namespace lagan::recovery {

struct CheckpointPolicy {
    uint32_t interval_seconds = 0;  // 0: none is due by time
    uint32_t dirty_percent = 0;     // of a region's pages; 0: none is due for this
    uint64_t bytes_per_s = 0;       // 0: as fast as it can be
};

struct CheckpointStatus {
    enum class State : uint8_t { none, waiting, running, done, failed };
    State state = State::none;  // of the newest that was asked for
    std::string problem;        // failed: why, and what to do
    bool tried_again = false;   // failed: it will be, without being asked for
    uint64_t cut_number = 0;    // 0: it got none
    uint64_t cut_time_us = 0;   // since 1970 (UTC)
    uint64_t pages = 0, pages_done = 0, bytes_written = 0;
    double seconds = 0;     // that it has run, or ran
    uint64_t failures = 0;  // one after the other, up to now
    // The baseline, after the newest checkpoint of this process that was done.
    uint64_t live_bytes = 0, stored_bytes = 0;
};
const char* to_string(CheckpointStatus::State state);

class Checkpointer {
  public:
    // All outlive it. The thread starts at once.
    Checkpointer(Memory memory, uint64_t writer_id, baseline::ObjectStore& store, CheckpointPolicy policy,
                 Workers& workers, EventLog& events);
    // Cancels what runs, and waits.
    ~Checkpointer();
    Checkpointer(const Checkpointer&) = delete;
    Checkpointer& operator=(const Checkpointer&) = delete;

    // The control thread makes all these calls; none waits.
    // False: one is running or waiting already.
    bool request(memory::Region& region);
    void cancel(uint32_t region_id);
    void cancel_all();  // for the end: nothing is begun any more
    // Whether the region must not go now. After forget() it is as if it had never been heard of.
    bool busy(uint32_t region_id) const;
    void forget(uint32_t region_id);
    CheckpointStatus status(uint32_t region_id) const;
    // Every second or so: requests those that are due. Temporary regions get none by themselves.
    void request_due(const std::vector<memory::Region*>& regions);

  private:
    using Clock = std::chrono::steady_clock;
    using State = CheckpointStatus::State;

    struct Job {
        memory::Region* region = nullptr;
        explicit Job(baseline::ObjectStore& under) : store(under, progress.cancel) {}

        Progress progress;
        JobStore store;
        std::unique_ptr<baseline::BaselineWriter> writer;  // the thread's while running; null: not opened yet
        CheckpointStatus status;
        Clock::time_point begin{}, end{}, next_attempt{};
    };

    void run(const std::stop_token& stop);
    void attempt(Job& job);
    void open_writer(Job& job) const;
    void finish(Job& job, const baseline::CommitResult& result);
    void fail(Job& job, const std::string& problem, bool may_pass);
    bool due(const memory::Region& region, const Job& job, Clock::time_point now) const;

    const Memory memory_;
    const uint64_t writer_id_;
    baseline::ObjectStore& store_;
    const CheckpointPolicy policy_;
    Workers& workers_;
    EventLog& events_;
    mutable std::mutex mutex_;
    std::condition_variable_any wake_;
    std::map<uint32_t, std::unique_ptr<Job>> jobs_;  // under mutex_: the map, states, times
    std::deque<uint32_t> queue_;                     // under mutex_
    std::jthread thread_;
};

}  // namespace lagan::recovery
