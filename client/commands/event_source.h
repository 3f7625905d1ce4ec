// SPDX-License-Identifier: BSD-3-Clause
// Server-sent events (text/event-stream), out of the pieces in which they arrive.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace lagan::client::commands {

class EventSource {
  public:
    // Gets each event's data; false: no more is wanted.
    using Take = std::function<bool(const std::string& data)>;
    explicit EventSource(Take take) : take_(std::move(take)) {}

    // False: `take` said so.
    bool feed(std::string_view piece);

  private:
    bool line(std::string_view text);

    Take take_;
    std::string partial_;  // of a line
    std::string data_;     // of an event
    bool has_data_ = false;
};

}  // namespace lagan::client::commands
