// SPDX-License-Identifier: BSD-3-Clause
// What `lagan run` says about the pager: progress while the program runs, figures at its end.
#pragma once

#include <chrono>
#include <string>

#include "client/pager/pager.h"

namespace lagan::client::run {

class Report {
  public:
    using Clock = std::chrono::steady_clock;

    // `progress`: one line a second on standard error.
    Report(const pager::Pager& pager, const PageStore& store, bool progress)
        : pager_(pager), store_(store), progress_(progress), start_(Clock::now()), last_(start_) {}

    void tick(Clock::time_point now) {
        if (progress_ && now - last_ >= std::chrono::seconds(1)) print_progress(now);
    }

    // One line on standard error; and all figures as one JSON object in `stats_file`, if it is not empty.
    void finish(const std::string& stats_file, int exit_status) const;

  private:
    void print_progress(Clock::time_point now);
    std::string reconnections() const;

    const pager::Pager& pager_;
    const PageStore& store_;
    bool progress_;
    Clock::time_point start_, last_;
    pager::PagerStats before_{};
};

}  // namespace lagan::client::run
