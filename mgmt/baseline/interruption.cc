// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/baseline/interruption.h"

#include <condition_variable>
#include <mutex>

#include "mgmt/baseline/object_store.h"

namespace lagan::baseline {

namespace {

thread_local std::stop_token current_token;

}

Interruption::Interruption(const std::stop_token& token) : outer_(current_token) {
    if (!outer_.stop_possible()) {
        current_token = token;
        return;
    }
    both_ = std::stop_source();
    from_outer_.emplace(outer_, Pass{both_});
    from_token_.emplace(token, Pass{both_});
    current_token = both_.get_token();
}

Interruption::~Interruption() {
    current_token = outer_;
}

std::stop_token Interruption::current() {
    return current_token;
}

void Interruption::check(const std::string& where) {
    if (current_token.stop_requested())
        throw StoreError(ErrorKind::unavailable,
                         where + ": given up: it was cancelled, or the appliance is being shut down");
}

bool sleep_for(std::chrono::steady_clock::duration time, const std::stop_token& stop) {
    std::mutex mutex;
    std::condition_variable_any wake;
    std::unique_lock lock(mutex);
    wake.wait_for(lock, stop, time, [] { return false; });
    return !stop.stop_requested();
}

}  // namespace lagan::baseline
