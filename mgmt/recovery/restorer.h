// SPDX-License-Identifier: BSD-3-Clause
// The restores of an appliance, each on a thread of its own.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "mgmt/recovery/events.h"
#include "mgmt/recovery/restore.h"
#include "mgmt/recovery/workers.h"

namespace lagan::recovery {

struct RestoreRequest {
    std::string region;                       // that is to be made; its baseline has this name
    std::optional<uint64_t> manifest_number;  // empty: the newest
    uint64_t reserve_bytes = 0;               // 0: the whole size
    bool overcommit = false;
};

struct RestoreStatus {
    enum class State : uint8_t { running, done, failed } state = State::running;
    std::string region;
    std::string problem;                 // failed: why, and what to do
    std::vector<baseline::Loss> losses;  // failed: pages that the baseline has no more
    uint64_t cut_number = 0, cut_time_us = 0;
    uint64_t pages = 0, pages_done = 0, bytes_read = 0;
    uint64_t damaged_pages = 0;  // done: that were damaged when they were stored
};
const char* to_string(RestoreStatus::State state);

class Restorer {
  public:
    // What only the control thread may do; called from a restore's thread, wait until it is done, and pass
    // its exceptions on. Regions made so are restoring until `complete`.
    struct Control {
        std::function<memory::Region&(const RestoreRequest&, const baseline::Manifest&)> make_region;
        std::function<void(memory::Region&, uint64_t cut_number)> complete;
        std::function<void(memory::Region&)> drop;
    };

    // All outlive it.
    Restorer(Memory memory, uint64_t writer_id, baseline::ObjectStore& store, Workers& workers,
             EventLog& events, Control control);
    // Cancels what runs, and waits; `control` must still answer, if only with exceptions.
    ~Restorer();
    Restorer(const Restorer&) = delete;
    Restorer& operator=(const Restorer&) = delete;

    // Any thread. False: that region is being restored already.
    bool begin(const RestoreRequest& request);
    void cancel(const std::string& region);
    void cancel_all();                        // for the end
    std::vector<RestoreStatus> list() const;  // the newest of each region
    std::optional<RestoreStatus> status(const std::string& region) const;

  private:
    struct Job {
        RestoreRequest request;
        Progress progress;
        RestoreStatus status;  // under mutex_
        std::jthread thread;
    };

    void run(Job& job);
    void fill(Job& job, baseline::ObjectStore& store, const baseline::BaselineReader& reader);
    uint64_t claim(baseline::ObjectStore& store, memory::Region& region,
                   const baseline::Manifest& restored) const;
    void finish(Job& job, RestoreStatus::State state, const std::string& text,
                std::vector<baseline::Loss> losses = {});
    RestoreStatus status_of(const Job& job) const;

    const Memory memory_;
    const uint64_t writer_id_;
    baseline::ObjectStore& store_;
    Workers& workers_;
    EventLog& events_;
    const Control control_;
    mutable std::mutex mutex_;
    std::map<std::string, std::unique_ptr<Job>> jobs_;  // under mutex_
};

}  // namespace lagan::recovery
