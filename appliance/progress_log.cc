// SPDX-License-Identifier: BSD-3-Clause
#include "appliance/progress_log.h"

#include <utility>

#include "appliance/log.h"
#include "appliance/size_text.h"

namespace lagan::appliance {

using namespace std::chrono_literals;

constexpr auto kSayEvery = 2s;

ProgressLog::ProgressLog(std::string what)
    : what_(std::move(what)),
      next_(std::make_shared<std::atomic<Clock::time_point>>(Clock::now() + kSayEvery)) {}

void ProgressLog::operator()(uint64_t bytes_done, uint64_t bytes) const {
    Clock::time_point next = next_->load();
    const auto now = Clock::now();
    if (now < next || !next_->compare_exchange_strong(next, now + kSayEvery)) return;
    spdlog::info("{}: {} of {}, {} %", what_, format_size(bytes_done), format_size(bytes),
                 bytes_done * 100 / (bytes == 0 ? 1 : bytes));
}

}  // namespace lagan::appliance
