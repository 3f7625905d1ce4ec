// SPDX-License-Identifier: BSD-3-Clause
// What the commands print: the same columns for whoever was asked, an appliance or a manager.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

namespace lagan::client::commands {

std::string size_text(uint64_t bytes);            // "1.5 GiB"
std::string time_text(uint64_t unix_us);          // "2026-11-23 01:40:05", UTC; "-" for 0
std::string or_dash(const nlohmann::json& text);  // null: "-"

uint64_t number(const nlohmann::json& object, const char* key);
std::string word(const nlohmann::json& object, const char* key);

// Cells.
std::string plain(const nlohmann::json& object, const char* key);  // text, number, yes/no; null: "-"
std::string bytes(const nlohmann::json& object, const char* key);
std::string time_us(const nlohmann::json& object, const char* key);
std::string time_ms(const nlohmann::json& object, const char* key);

struct Column {
    const char* head;
    const char* key;
    std::string (*cell)(const nlohmann::json& object, const char* key) = plain;
};

using Rows = std::vector<std::vector<std::string>>;

// Columns as wide as their widest cell; numbers (cells that begin with a digit) to the right.
std::string table_text(const std::vector<std::string>& heads, const Rows& rows);
// A row for each object. A column whose key the objects have not is left out: the one who was asked does not
// know it.
void print_rows(std::span<const Column> columns, const nlohmann::json& objects);
// Everything that one object says, a line for each key; lists and objects in it are left out.
void print_fields(const nlohmann::json& object);
void print_json(const nlohmann::json& value);
// In one line: for what goes on.
void print_json_line(const nlohmann::json& value);

}  // namespace lagan::client::commands
