// SPDX-License-Identifier: BSD-3-Clause
#include "client/commands/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace lagan::client::commands {

namespace {

constexpr auto kLineEvery = std::chrono::seconds(2);  // where it cannot be drawn over
constexpr size_t kBarWidth = 24;
constexpr size_t kColumns = 80;

size_t columns_of_terminal() {
    winsize size{};
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col != 0 ? size.ws_col : kColumns;
}

}  // namespace

std::string bar_text(uint64_t done, uint64_t all, size_t width) {
    const double part = all == 0 ? 0 : static_cast<double>(std::min(done, all)) / static_cast<double>(all);
    const auto full = static_cast<size_t>(part * static_cast<double>(width));
    return fmt::format("[{}{}] {:>3} %", std::string(full, '#'), std::string(width - full, '.'),
                       static_cast<unsigned>(part * 100));
}

Progress::Progress(std::string what)
    : Progress(std::move(what), isatty(STDERR_FILENO) != 0, columns_of_terminal()) {}

Progress::Progress(std::string what, bool terminal, size_t columns)
    : what_(std::move(what)), terminal_(terminal), columns_(columns) {}

Progress::~Progress() {
    if (terminal_ && shown_) fmt::print(stderr, "\n");
}

std::string Progress::next(const std::string& step, uint64_t done, uint64_t all, const std::string& more,
                           Clock::time_point now) {
    const bool due = terminal_ || !shown_ || step != step_ || now - said_ >= kLineEvery;
    if (!due) return {};
    shown_ = true;
    step_ = step;
    said_ = now;
    std::string text = what_ + ": " + step;
    if (terminal_ && all != 0) text = fmt::format("{} {}", bar_text(done, all, kBarWidth), text);
    if (!terminal_ && all != 0) text += fmt::format(", {} %", std::min(done, all) * 100 / all);
    if (!more.empty()) text += ", " + more;
    if (!terminal_) return text + "\n";
    if (text.size() >= columns_) text.resize(columns_ - 1);  // a line that wraps is not drawn over
    return "\r" + text + "\x1b[K";
}

void Progress::show(const std::string& step, uint64_t done, uint64_t all, const std::string& more) {
    fmt::print(stderr, "{}", next(step, done, all, more, Clock::now()));
    std::fflush(stderr);
}

}  // namespace lagan::client::commands
