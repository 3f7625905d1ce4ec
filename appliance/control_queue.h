// SPDX-License-Identifier: BSD-3-Clause
// Lets other threads have work done on the control thread, which alone may touch regions and connections.
#pragma once

#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <semaphore>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <variant>

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

    // Any thread but the control thread: runs `work` there, waits, and returns its result or throws what it
    // threw. Throws QueueClosed once close() was called.
    template <typename Work>
    std::invoke_result_t<Work> run(Work work) {
        auto call = std::make_shared<Call<Work>>(std::move(work));
        post(call);
        call->done.acquire();
        // Moved out: what an exception holds then ends on this thread, not on whichever lets go of the call
        // last.
        if (const std::exception_ptr error = std::move(call->error)) std::rethrow_exception(error);
        if constexpr (!std::is_void_v<std::invoke_result_t<Work>>) return std::move(*call->result);
    }

    // Control thread: does what is waiting. fd() is readable while something is (an eventfd, for poll()).
    void serve();
    int fd() const { return event_; }

    // From then on run() throws, in those that wait already too. Any thread.
    void close();

  private:
    struct Task {
        virtual ~Task() = default;
        virtual void carry_out() = 0;

        std::exception_ptr error;
        std::binary_semaphore done{0};
    };

    template <typename Work>
    struct Call final : Task {
        using Result = std::invoke_result_t<Work>;

        explicit Call(Work&& wanted) : work(std::move(wanted)) {}
        void carry_out() override {
            if constexpr (std::is_void_v<Result>) {
                work();
            } else {
                result.emplace(work());
            }
        }

        Work work;
        std::optional<std::conditional_t<std::is_void_v<Result>, std::monostate, Result>> result;
    };

    void post(std::shared_ptr<Task> task);

    std::mutex mutex_;
    std::deque<std::shared_ptr<Task>> tasks_;  // under mutex_
    bool closed_ = false;                      // under mutex_
    const int event_;
};

}  // namespace lagan::appliance
