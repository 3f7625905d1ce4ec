// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/cluster/event_feed.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>

namespace lagan::cluster {

using namespace std::chrono_literals;

namespace {

constexpr auto kLookEvery = 250ms;  // for events of other managers
constexpr uint64_t kKept = 10'000;
constexpr size_t kMostWaiting = 10'000;
constexpr size_t kSentAtOnce = 100;
constexpr size_t kUnsent = 64 * 1024;  // bytes: then a listener is left in peace for a while
constexpr int kStreamsOfOne = 8;
constexpr auto kAskAgain = 2s;  // whether a listener's token is still good
constexpr uint64_t kTidyEvery = 100;

uint64_t unix_ms() {
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                     std::chrono::system_clock::now().time_since_epoch())
                                     .count());
}

void log(const EventRecord& event) {
    const auto level = event.severity == "alarm"     ? spdlog::level::err
                       : event.severity == "warning" ? spdlog::level::warn
                                                     : spdlog::level::info;
    spdlog::log(level, "{}{}{}", event.region, event.region.empty() ? "" : ": ", event.text);
}

}  // namespace

nlohmann::json public_json(const EventRecord& event) {
    const auto or_null = [](const std::string& text) {
        return text.empty() ? nlohmann::json() : nlohmann::json(text);
    };
    return {{"number", event.number},          {"time_ms", event.time_ms},
            {"severity", event.severity},      {"kind", event.kind},
            {"node", or_null(event.node)},     {"region", or_null(event.region)},
            {"tenant", or_null(event.tenant)}, {"text", event.text}};
}

EventFeed::EventFeed(Directory& directory) : directory_(directory), thread_([this] { run(); }) {}

EventFeed::~EventFeed() {
    {
        const std::lock_guard lock(mutex_);
        end_ = true;
    }
    wake_.notify_all();
    thread_.join();
}

void EventFeed::add(EventRecord event) {
    log(event);
    event.time_ms = unix_ms();
    const std::lock_guard lock(mutex_);
    if (waiting_.size() < kMostWaiting) waiting_.push_back(std::move(event));
    wake_.notify_all();
}

bool EventFeed::listen(std::shared_ptr<http::EventStream> stream, uint64_t after, Audience audience) {
    const std::lock_guard lock(mutex_);
    int& streams = streams_[audience.owner];
    if (streams >= kStreamsOfOne) return false;
    ++streams;
    new_listeners_.push_back({.stream = std::move(stream), .after = after, .audience = std::move(audience)});
    wake_.notify_all();
    return true;
}

std::vector<EventRecord> EventFeed::after(uint64_t number, size_t limit) const {
    std::vector<EventRecord> events;
    for (const Entry& entry : directory_.list(kEventPrefix, event_key(number), limit))
        events.push_back(entry.value.get<EventRecord>());
    return events;
}

void EventFeed::run() {
    for (bool end = false; !end;) {
        {
            std::unique_lock lock(mutex_);
            wake_.wait_for(lock, kLookEvery,
                           [&] { return end_ || !waiting_.empty() || !new_listeners_.empty(); });
            end = end_;
            std::move(new_listeners_.begin(), new_listeners_.end(), std::back_inserter(listeners_));
            new_listeners_.clear();
        }
        try {
            write_waiting();
            send_new();
        } catch (const std::exception& error) {  // tried again; the log has the events
            spdlog::debug("events: {}", error.what());
            if (!end) std::this_thread::sleep_for(kLookEvery);
        }
    }
    for (Listener& listener : listeners_)
        listener.stream->end();
}

void EventFeed::write_waiting() {
    for (;;) {
        EventRecord event;
        {
            const std::lock_guard lock(mutex_);
            if (waiting_.empty()) return;
            event = waiting_.front();
        }
        // Another manager may take the number: then the next one.
        for (;;) {
            for (const EventRecord& known : after(last_, 0))
                last_ = std::max(last_, known.number);
            event.number = last_ + 1;
            if (directory_.put(event_key(event.number), event, Directory::kAbsent)) break;
        }
        last_ = event.number;
        if (event.number % kTidyEvery == 0) forget_old();
        const std::lock_guard lock(mutex_);
        waiting_.pop_front();
    }
}

void EventFeed::forget_old() {
    if (last_ <= kKept) return;
    for (const Entry& entry : directory_.list(kEventPrefix, "", 2 * kTidyEvery)) {
        if (entry.key >= event_key(last_ - kKept)) return;
        directory_.remove(entry.key, entry.revision);
    }
}

void EventFeed::send_new() {
    if (listeners_.empty()) return;
    const uint64_t revision = directory_.revision();
    const bool something_new = revision != seen_revision_;
    // One by one: whoever has been served stays so when the directory fails at the next.
    for (auto listener = listeners_.begin(); listener != listeners_.end();) {
        listener->behind |= something_new;
        if (stays(*listener)) {
            ++listener;
            continue;
        }
        listener->stream->end();
        const std::lock_guard lock(mutex_);
        if (--streams_[listener->audience.owner] == 0) streams_.erase(listener->audience.owner);
        listener = listeners_.erase(listener);
    }
    seen_revision_ = revision;
}

bool EventFeed::stays(Listener& listener) const {
    if (listener.stream->gone()) return false;
    const auto now = std::chrono::steady_clock::now();
    if (now >= listener.ask_again) {
        if (!listener.audience.still_allowed()) return false;
        listener.ask_again = now + kAskAgain;
    }
    return !listener.behind || send_to(listener);
}

// As much as the client takes without waiting for long.
bool EventFeed::send_to(Listener& listener) const {
    while (listener.stream->waiting() < kUnsent) {
        const auto events = after(listener.after, kSentAtOnce);
        for (const EventRecord& event : events) {
            listener.after = event.number;
            const auto seen = listener.audience.seen(event);
            if (!seen) continue;
            const std::string data =
                public_json(*seen).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
            if (!listener.stream->send(http::format_event(std::to_string(event.number), event.kind, data)))
                return false;
        }
        listener.behind = events.size() == kSentAtOnce;
        if (!listener.behind) return true;
    }
    return true;
}

}  // namespace lagan::cluster
