// SPDX-License-Identifier: BSD-3-Clause
// What an operator should know of: kept in the directory, numbered, and sent to those who listen. A thread of
// its own writes and reads, so that a directory that hangs holds up nobody.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "mgmt/cluster/directory.h"
#include "mgmt/cluster/records.h"
#include "mgmt/http/event_stream.h"

namespace lagan::cluster {

class EventFeed {
  public:
    explicit EventFeed(Directory& directory);
    ~EventFeed();
    EventFeed(const EventFeed&) = delete;
    EventFeed& operator=(const EventFeed&) = delete;

    // Any thread. Also a line in the log. Number and time are filled in.
    void add(EventRecord event);
    struct Audience {
        std::string owner;                                            // of all its streams together
        std::function<std::optional<EventRecord>(EventRecord)> seen;  // as it may see it; nothing: not at all
        std::function<bool()> still_allowed;                          // asked from time to time
    };
    // Sends those with a higher number than `after`, now and as they come, no faster than they are taken.
    // False: this owner has as many streams as one may have.
    bool listen(std::shared_ptr<http::EventStream> stream, uint64_t after, Audience audience);
    // At most `limit` with higher numbers, oldest first.
    std::vector<EventRecord> after(uint64_t number, size_t limit) const;

  private:
    struct Listener {
        std::shared_ptr<http::EventStream> stream;
        uint64_t after = 0;
        Audience audience;
        std::chrono::steady_clock::time_point ask_again{};  // whether it is still allowed
        bool behind = true;                                 // there may be more to send
    };
    void run();
    void write_waiting();
    void send_new();
    bool stays(Listener& listener) const;
    bool send_to(Listener& listener) const;
    void forget_old();

    Directory& directory_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<EventRecord> waiting_;      // under mutex_
    std::vector<Listener> new_listeners_;  // under mutex_
    std::map<std::string, int> streams_;   // under mutex_; by owner
    bool end_ = false;                     // under mutex_
    std::vector<Listener> listeners_;      // the thread's
    uint64_t last_ = 0;                    // the thread's: the newest number that it knows of
    uint64_t seen_revision_ = 0;           // the thread's
    std::thread thread_;
};

nlohmann::json public_json(const EventRecord& event);

}  // namespace lagan::cluster
