// SPDX-License-Identifier: BSD-3-Clause
// A reply that goes on: server-sent events (text/event-stream) to one client, or any other text. Whoever
// produces it keeps it, and sends; the server that was given it in a Reply passes it on.
#pragma once

#include <cstddef>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>

namespace lagan::http {

// Any thread.
class EventStream {
  public:
    // What may wait to be sent. A client that takes less than is produced is disconnected when it is full.
    explicit EventStream(size_t max_waiting_bytes = 256 * 1024) : max_waiting_bytes_(max_waiting_bytes) {}
    EventStream(const EventStream&) = delete;
    EventStream& operator=(const EventStream&) = delete;

    // False: the client is gone, or too slow, or the stream has ended: nothing more will be sent.
    bool send(std::string_view text);
    // Bytes that the client has not taken yet: who has much to send waits until they are few.
    size_t waiting() const;
    // What waits is sent, then the connection ends.
    void end();
    // The client has left or is too slow.
    bool gone() const;

    // For the server. `wake` is called, under a lock and on any thread, when take() may have more to give.
    void attach(std::function<void()> wake);
    void detach();  // the client is gone: no more calls of `wake`
    struct Part {
        std::string text;
        bool last = false;  // nothing comes behind it
    };
    Part take();

  private:
    const size_t max_waiting_bytes_;
    mutable std::mutex mutex_;
    std::function<void()> wake_;  // all under mutex_
    std::string waiting_;
    bool ended_ = false;
    bool gone_ = false;
    bool overflow_ = false;
};

// One server-sent event. `data` may have several lines; line breaks in `id` and `event` are left out. An
// empty `event` is not sent: clients call it "message".
std::string format_event(std::string_view id, std::string_view event, std::string_view data);

}  // namespace lagan::http
