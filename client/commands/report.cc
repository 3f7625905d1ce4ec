// SPDX-License-Identifier: BSD-3-Clause
#include "client/commands/report.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <chrono>
#include <cstdio>

namespace lagan::client::commands {

using nlohmann::json;

namespace {

bool begins_with_digit(const std::string& cell) {
    return !cell.empty() && std::isdigit(static_cast<unsigned char>(cell[0])) != 0;
}

// "lease_ttl_ms" → "lease ttl"; its unit is in the value.
std::string field_name(std::string key) {
    for (const char* unit : {"_bytes", "_us", "_ms"})
        if (key.ends_with(unit)) key.resize(key.size() - std::string_view(unit).size());
    std::replace(key.begin(), key.end(), '_', ' ');
    return key;
}

std::string field_text(const json& object, const std::string& key) {
    if (!object.at(key).is_number()) return plain(object, key.c_str());
    if (key.ends_with("_bytes")) return bytes(object, key.c_str());
    if (key.ends_with("time_us")) return time_us(object, key.c_str());
    if (key == "time_ms" || key == "created_ms") return time_ms(object, key.c_str());
    if (key.ends_with("_ms")) return plain(object, key.c_str()) + " ms";
    return plain(object, key.c_str());
}

}  // namespace

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

std::string or_dash(const json& text) {
    return text.is_string() && !text.get_ref<const std::string&>().empty() ? text.get<std::string>() : "-";
}

uint64_t number(const json& object, const char* key) {
    return object.at(key).get<uint64_t>();
}

std::string word(const json& object, const char* key) {
    return object.at(key).get<std::string>();
}

std::string plain(const json& object, const char* key) {
    const auto value = object.find(key);
    if (value == object.end() || value->is_null()) return "-";
    if (value->is_string()) return or_dash(*value);
    if (value->is_boolean()) return value->get<bool>() ? "yes" : "no";
    return value->dump();
}

std::string bytes(const json& object, const char* key) {
    return size_text(number(object, key));
}

std::string time_us(const json& object, const char* key) {
    return time_text(number(object, key));
}

std::string time_ms(const json& object, const char* key) {
    return time_text(number(object, key) * 1000);
}

std::string table_text(const std::vector<std::string>& heads, const Rows& rows) {
    std::string text;
    std::vector<size_t> widths;
    for (size_t column = 0; column < heads.size(); ++column) {
        size_t width = heads[column].size();
        for (const auto& row : rows)
            width = std::max(width, row[column].size());
        widths.push_back(width);
    }
    const auto add_row = [&](const std::vector<std::string>& cells, bool numbers) {
        std::string line;
        for (size_t column = 0; column < cells.size(); ++column)
            line += numbers && begins_with_digit(cells[column])
                        ? fmt::format("{:>{}}  ", cells[column], widths[column])
                        : fmt::format("{:<{}}  ", cells[column], widths[column]);
        line.erase(line.find_last_not_of(' ') + 1);
        text += line + "\n";
    };
    add_row(heads, false);
    for (const auto& row : rows)
        add_row(row, true);
    return text;
}

void print_rows(std::span<const Column> columns, const json& objects) {
    std::vector<std::string> heads;
    Rows rows(objects.size());
    for (const Column& column : columns) {
        const bool known = objects.empty() || std::any_of(objects.begin(), objects.end(), [&](const json& o) {
                               return o.contains(column.key);
                           });
        if (!known) continue;
        heads.emplace_back(column.head);
        for (size_t i = 0; i < objects.size(); ++i)
            rows[i].push_back(column.cell(objects[i], column.key));
    }
    fmt::print("{}", table_text(heads, rows));
}

void print_fields(const json& object) {
    size_t width = 0;
    for (const auto& [key, value] : object.items())
        if (!value.is_structured()) width = std::max(width, field_name(key).size());
    for (const auto& [key, value] : object.items())
        if (!value.is_structured())
            fmt::print("{:<{}}  {}\n", field_name(key), width, field_text(object, key));
}

void print_json(const json& value) {
    fmt::print("{}\n", value.dump(2));
}

void print_json_line(const json& value) {
    fmt::print("{}\n", value.dump());
    std::fflush(stdout);
}

}  // namespace lagan::client::commands
