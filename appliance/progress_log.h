// SPDX-License-Identifier: BSD-3-Clause
// Says from time to time in the log how far long work has come.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

namespace lagan::appliance {

// Copies share their state; any thread may call them.
class ProgressLog {
  public:
    explicit ProgressLog(std::string what);
    void operator()(uint64_t bytes_done, uint64_t bytes) const;

  private:
    using Clock = std::chrono::steady_clock;

    std::string what_;
    std::shared_ptr<std::atomic<Clock::time_point>> next_;
};

}  // namespace lagan::appliance
