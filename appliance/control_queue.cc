// SPDX-License-Identifier: BSD-3-Clause
#include "appliance/control_queue.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace lagan::appliance {

namespace {

int make_event() {
    const int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) throw std::system_error(errno, std::generic_category(), "cannot make an eventfd");
    return fd;
}

}  // namespace

ControlQueue::ControlQueue() : event_(make_event()) {}

ControlQueue::~ControlQueue() {
    ::close(event_);
}

void ControlQueue::post(std::shared_ptr<Task> task) {
    const std::lock_guard lock(mutex_);
    if (closed_) throw QueueClosed();
    tasks_.push_back(std::move(task));
    eventfd_write(event_, 1);
}

void ControlQueue::serve() {
    std::deque<std::shared_ptr<Task>> tasks;
    {
        const std::lock_guard lock(mutex_);
        eventfd_t ignored;
        eventfd_read(event_, &ignored);  // fails when nothing is waiting, which is as good
        tasks.swap(tasks_);
    }
    for (const auto& task : tasks) {
        try {
            task->carry_out();
        } catch (...) {
            task->error = std::current_exception();
        }
        task->done.release();
    }
}

void ControlQueue::close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    for (const auto& task : tasks_) {
        task->error = std::make_exception_ptr(QueueClosed());
        task->done.release();
    }
    tasks_.clear();
}

}  // namespace lagan::appliance
