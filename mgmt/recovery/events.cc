// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/recovery/events.h"

#include <chrono>

namespace lagan::recovery {

const char* to_string(Severity severity) {
    switch (severity) {
        case Severity::info:
            return "info";
        case Severity::warning:
            return "warning";
        case Severity::alarm:
            break;
    }
    return "alarm";
}

void EventLog::add(Severity severity, std::string kind, std::string region, std::string text) {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    Event event{
        .number = 0,
        .time_ms = static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count()),
        .severity = severity,
        .kind = std::move(kind),
        .region = std::move(region),
        .text = std::move(text)};
    {
        const std::scoped_lock lock(mutex_);
        event.number = ++last_;
        events_.push_back(event);
        if (events_.size() > kKept) events_.pop_front();
    }
    said_(event);
}

std::vector<Event> EventLog::after(uint64_t number) const {
    const std::scoped_lock lock(mutex_);
    std::vector<Event> found;
    for (const Event& event : events_)
        if (event.number > number) found.push_back(event);
    return found;
}

}  // namespace lagan::recovery
