// SPDX-License-Identifier: BSD-3-Clause
// Ends calls to a store before the store has answered: a checkpoint was cancelled, or the appliance is
// shutting down.
#pragma once

#include <chrono>
#include <optional>
#include <stop_token>
#include <string>

namespace lagan::baseline {

// While one exists, what its thread asks of a store ends soon after `token` is stopped, with
// ErrorKind::unavailable; what was asked for may have been done or not. They nest: each of them ends the
// call. An S3 request is given up within about a second, a RADOS operation at once. A system call of a
// directory store is not, nor is RADOS's connecting, which its timeout ends.
class Interruption {
  public:
    explicit Interruption(const std::stop_token& token);
    ~Interruption();
    Interruption(const Interruption&) = delete;
    Interruption& operator=(const Interruption&) = delete;

    // For engines: what ends the calling thread's calls.
    static std::stop_token current();
    // Throws the StoreError; `where` begins its text.
    static void check(const std::string& where);

  private:
    struct Pass {
        std::stop_source& to;
        void operator()() const { to.request_stop(); }
    };

    const std::stop_token outer_;
    std::stop_source both_{std::nostopstate};  // of nested ones
    std::optional<std::stop_callback<Pass>> from_outer_, from_token_;
};

// False if it was cut short.
bool sleep_for(std::chrono::steady_clock::duration time, const std::stop_token& stop);

}  // namespace lagan::baseline
