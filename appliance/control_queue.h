// SPDX-License-Identifier: BSD-3-Clause
// Lets other threads have work done on the control thread, which alone may touch regions and connections.
#pragma once

#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <stdexcept>

namespace lagan::appliance {

struct QueueClosed : std::runtime_error {
    QueueClosed() : std::runtime_error("the appliance is shutting down") {}
};

class ControlQueue {
  public:
    ControlQueue();  // throws std::system_error when there is no file descriptor left
    ~ControlQueue();
    ControlQueue(const ControlQueue&) = delete;
    ControlQueue& operator=(const ControlQueue&) = delete;

    // Any thread but the control thread: runs `work` there, waits, and returns its result or throws what it threw. Throws
    // QueueClosed once close() was called.
    template <typename Work>
    std::invoke_result_t<Work> run(Work work) {
        auto task = std::make_shared<std::packaged_task<std::invoke_result_t<Work>()>>(std::move(work));
        auto result = task->get_future();
        post([task = std::move(task)] { (*task)(); });
        try {
            return result.get();
        } catch (const std::future_error&) {  // close() threw the task away
            throw QueueClosed();
        }
    }

    // Control thread: does what is waiting. fd() is readable while something is (an eventfd, for poll()).
    void serve();
    int fd() const { return event_; }

    // From then on run() throws, in those that wait already too. Any thread.
    void close();

  private:
    void post(std::function<void()> task);

    std::mutex mutex_;
    std::deque<std::function<void()>> tasks_;  // under mutex_
    bool closed_ = false;                      // under mutex_
    const int event_;
};

}  // namespace lagan::appliance
