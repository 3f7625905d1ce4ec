// SPDX-License-Identifier: BSD-3-Clause
#include "client/node/report.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <chrono>
#include <cstdio>

namespace lagan::client::node {

namespace {

constexpr uint64_t kCallsPerLine = 20;  // where it cannot be drawn over

}  // namespace

void print_table(const std::vector<std::string>& heads, const std::vector<std::vector<std::string>>& rows) {
    std::vector<size_t> widths;
    for (size_t column = 0; column < heads.size(); ++column) {
        size_t width = heads[column].size();
        for (const auto& row : rows)
            width = std::max(width, row[column].size());
        widths.push_back(width);
    }
    const auto print_row = [&](const std::vector<std::string>& cells, bool numbers) {
        std::string line;
        for (size_t column = 0; column < cells.size(); ++column) {
            const std::string& cell = cells[column];
            const bool right =
                numbers && !cell.empty() && std::isdigit(static_cast<unsigned char>(cell[0])) != 0;
            line += right ? fmt::format("{:>{}}  ", cell, widths[column])
                          : fmt::format("{:<{}}  ", cell, widths[column]);
        }
        line.erase(line.find_last_not_of(' ') + 1);
        fmt::print("{}\n", line);
    };
    print_row(heads, false);
    for (const auto& row : rows)
        print_row(row, true);
}

std::string size_text(uint64_t bytes) {
    constexpr std::array<const char*, 5> kUnits{"bytes", "KiB", "MiB", "GiB", "TiB"};
    auto value = static_cast<double>(bytes);
    size_t unit = 0;
    for (; value >= 1024 && unit + 1 < kUnits.size(); ++unit)
        value /= 1024;
    return unit == 0 ? fmt::format("{} bytes", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string time_text(uint64_t unix_us) {
    if (unix_us == 0) return "-";
    return fmt::format("{:%Y-%m-%d %H:%M:%S}", fmt::gmtime(static_cast<std::time_t>(unix_us / 1'000'000)));
}

std::string or_dash(const nlohmann::json& text) {
    return text.is_string() && !text.get_ref<const std::string&>().empty() ? text.get<std::string>() : "-";
}

ProgressLine::ProgressLine(std::string what)
    : what_(std::move(what)), terminal_(isatty(STDERR_FILENO) != 0) {}

ProgressLine::~ProgressLine() {
    if (terminal_ && shown_) fmt::print(stderr, "\n");
}

void ProgressLine::show(uint64_t done, uint64_t all, uint64_t bytes) {
    if (!terminal_ && calls_++ % kCallsPerLine != 0) return;
    shown_ = true;
    const std::string line = fmt::format("{}: {} of {} pages, {} %, {}", what_, done, all,
                                         all == 0 ? 0 : done * 100 / all, size_text(bytes));
    std::fprintf(stderr, terminal_ ? "\r%s\x1b[K" : "%s\n", line.c_str());
    std::fflush(stderr);
}

}  // namespace lagan::client::node
