// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/http/event_stream.h"

#include <algorithm>
#include <utility>

namespace lagan::http {

bool EventStream::send(std::string_view text) {
    const std::scoped_lock lock(mutex_);
    if (ended_ || gone_ || overflow_) return false;
    if (text.size() > max_waiting_bytes_ - waiting_.size()) {
        overflow_ = true;
    } else {
        waiting_ += text;
    }
    if (wake_) wake_();
    return !overflow_;
}

size_t EventStream::waiting() const {
    const std::scoped_lock lock(mutex_);
    return waiting_.size();
}

void EventStream::end() {
    const std::scoped_lock lock(mutex_);
    ended_ = true;
    if (wake_) wake_();
}

bool EventStream::gone() const {
    const std::scoped_lock lock(mutex_);
    return gone_ || overflow_;
}

void EventStream::attach(std::function<void()> wake) {
    const std::scoped_lock lock(mutex_);
    wake_ = std::move(wake);
}

void EventStream::detach() {
    const std::scoped_lock lock(mutex_);
    wake_ = nullptr;
    gone_ = true;
    waiting_.clear();
}

EventStream::Part EventStream::take() {
    const std::scoped_lock lock(mutex_);
    return {.text = std::exchange(waiting_, {}), .last = ended_};
}

std::string format_event(std::string_view id, std::string_view event, std::string_view data) {
    const auto add_line = [](std::string& text, std::string_view name, std::string_view value) {
        text += name;
        text += ": ";
        for (const char c : value)
            if (c != '\n' && c != '\r' && c != '\0') text += c;
        text += '\n';
    };
    std::string text;
    if (!id.empty()) add_line(text, "id", id);
    if (!event.empty()) add_line(text, "event", event);
    for (size_t begin = 0; begin <= data.size();) {
        const size_t end = std::min(data.find('\n', begin), data.size());
        add_line(text, "data", data.substr(begin, end - begin));
        begin = end + 1;
    }
    return text + "\n";
}

}  // namespace lagan::http
