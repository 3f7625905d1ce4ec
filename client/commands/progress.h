// SPDX-License-Identifier: BSD-3-Clause
// How far something is, on standard error: a bar that is drawn over on a terminal, elsewhere a line when
// something new begins, and one from time to time.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace lagan::client::commands {

// "[#####...............]  25 %"; more than all is all, and of nothing is nothing.
std::string bar_text(uint64_t done, uint64_t all, size_t width);

class Progress {
  public:
    using Clock = std::chrono::steady_clock;
    explicit Progress(std::string what);
    Progress(std::string what, bool terminal, size_t columns);  // tests
    ~Progress();                                                // ends the line
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;

    // `step`: what is being done, "rebuilding". `all` 0: nobody knows how much there is. `more` is added.
    void show(const std::string& step, uint64_t done, uint64_t all, const std::string& more = {});

    // What show() would print now; empty: nothing. Separate for tests.
    std::string next(const std::string& step, uint64_t done, uint64_t all, const std::string& more,
                     Clock::time_point now);

  private:
    const std::string what_;
    const bool terminal_;
    const size_t columns_;
    bool shown_ = false;
    std::string step_;
    Clock::time_point said_;
};

}  // namespace lagan::client::commands
