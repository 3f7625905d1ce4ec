// SPDX-License-Identifier: BSD-3-Clause
// What the node commands print.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace lagan::client::node {

// Columns as wide as their widest cell; numbers (cells that begin with a digit) to the right.
void print_table(const std::vector<std::string>& heads, const std::vector<std::vector<std::string>>& rows);

std::string size_text(uint64_t bytes);            // "1.5 GiB"
std::string time_text(uint64_t unix_us);          // "2026-11-23 01:40:05", UTC; "-" for 0
std::string or_dash(const nlohmann::json& text);  // null: "-"

// One line of progress on standard error: drawn over on a terminal, else a new one from time to time.
class ProgressLine {
  public:
    explicit ProgressLine(std::string what);
    ~ProgressLine();  // ends the line
    ProgressLine(const ProgressLine&) = delete;
    ProgressLine& operator=(const ProgressLine&) = delete;
    void show(uint64_t done, uint64_t all, uint64_t bytes);

  private:
    std::string what_;
    bool terminal_;
    bool shown_ = false;
    uint64_t calls_ = 0;
};

}  // namespace lagan::client::node
