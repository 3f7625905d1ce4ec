// SPDX-License-Identifier: BSD-3-Clause
// A client that takes part in a drill: it fills a region with pages that it knows, goes on reading and
// storing while the region's home changes, and in the end reads everything back.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>

#include "client/target.h"

namespace lagan::client::commands {

class DrillClient {
  public:
    // What it has found. An empty `failure` and no wrong pages: every acknowledged store was read back.
    struct Result {
        uint64_t pages = 0;       // of the region, all of which were checked
        uint64_t operations = 0;  // while it went on
        uint64_t wrong_pages = 0;
        double longest_wait_ms = 0;  // for one operation
        std::string failure;
    };

    // Begins. `target` names the region. `seed` makes the pages.
    DrillClient(TargetOptions target, uint64_t seed);
    ~DrillClient();  // ends it, however far it is
    DrillClient(const DrillClient&) = delete;
    DrillClient& operator=(const DrillClient&) = delete;

    enum class Phase : uint8_t { filling, working, checking, ended };
    // Pages done in the phase, and how many there are.
    Phase phase() const { return phase_; }
    uint64_t done() const { return done_; }
    uint64_t all() const { return pages_; }

    // No more stores: everything is read back now. Until phase() is ended.
    void check() { check_ = true; }
    // When it has ended.
    const Result& result() const { return result_; }

  private:
    void run();
    void work();

    TargetOptions target_;
    const uint64_t seed_;
    std::atomic<Phase> phase_ = Phase::filling;
    std::atomic<uint64_t> done_ = 0, pages_ = 0;
    std::atomic<bool> check_ = false, stop_ = false;
    Result result_;  // the thread's, until it has ended
    std::thread thread_;
};

}  // namespace lagan::client::commands
