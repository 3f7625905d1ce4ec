// SPDX-License-Identifier: BSD-3-Clause
// What happened on an appliance that an operator should know of: the newest events are kept for the node API,
// and each is a line in the log. Any thread.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

namespace lagan::recovery {

enum class Severity : uint8_t { info, warning, alarm };  // alarm: somebody has to do something
const char* to_string(Severity severity);

struct Event {
    uint64_t number = 0;   // from 1 on, without gaps
    uint64_t time_ms = 0;  // since 1970 (UTC)
    Severity severity = Severity::info;
    std::string kind;    // for scripts: "checkpoint_failed"
    std::string region;  // empty: none in particular
    std::string text;    // for people
};

class EventLog {
  public:
    // `said` gets each event, on the thread that adds it.
    explicit EventLog(std::function<void(const Event&)> said) : said_(std::move(said)) {}

    void add(Severity severity, std::string kind, std::string region, std::string text);
    // Those with a higher number, oldest first, as far as they are still kept.
    std::vector<Event> after(uint64_t number) const;

  private:
    static constexpr size_t kKept = 1000;

    std::function<void(const Event&)> said_;
    mutable std::mutex mutex_;
    std::deque<Event> events_;  // under mutex_
    uint64_t last_ = 0;         // under mutex_
};

}  // namespace lagan::recovery
