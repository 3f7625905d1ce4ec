// SPDX-License-Identifier: BSD-3-Clause
#include "appliance/size_text.h"

#include <fmt/format.h>

#include <boost/algorithm/string/predicate.hpp>
#include <boost/algorithm/string/trim.hpp>
#include <charconv>
#include <cmath>

namespace lagan::appliance {

namespace {

struct Unit {
    std::string_view name;
    uint64_t bytes;
};

constexpr Unit kUnits[] = {
    {"", 1},
    {"B", 1},
    {"K", 1ULL << 10},
    {"KiB", 1ULL << 10},
    {"KB", 1000},
    {"M", 1ULL << 20},
    {"MiB", 1ULL << 20},
    {"MB", 1000'000},
    {"G", 1ULL << 30},
    {"GiB", 1ULL << 30},
    {"GB", 1000'000'000},
    {"T", 1ULL << 40},
    {"TiB", 1ULL << 40},
    {"TB", 1000'000'000'000},
};

std::optional<uint64_t> unit_bytes(const std::string& name) {
    for (const Unit& unit : kUnits) {
        if (boost::algorithm::iequals(name, unit.name)) return unit.bytes;
    }
    return std::nullopt;
}

}  // namespace

std::optional<uint64_t> parse_size(std::string_view text) {
    constexpr uint64_t kLimit = 1ULL << 63;
    const std::string trimmed = boost::algorithm::trim_copy(std::string(text));
    if (trimmed.empty() || trimmed[0] < '0' || trimmed[0] > '9') return std::nullopt;
    const size_t digits_end = trimmed.find_first_not_of("0123456789.");
    const std::string number = trimmed.substr(0, digits_end);
    const std::string unit_name =
        digits_end == std::string::npos ? "" : boost::algorithm::trim_left_copy(trimmed.substr(digits_end));
    const auto unit = unit_bytes(unit_name);
    if (!unit) return std::nullopt;

    const char* const end = number.data() + number.size();
    uint64_t whole = 0;
    if (const auto [stop, error] = std::from_chars(number.data(), end, whole);
        error == std::errc() && stop == end) {
        if (whole >= kLimit / *unit) return std::nullopt;
        return whole * *unit;
    }
    double fraction = 0;
    const auto [stop, error] = std::from_chars(number.data(), end, fraction, std::chars_format::fixed);
    if (error != std::errc() || stop != end || number.back() == '.') return std::nullopt;
    const double bytes = fraction * static_cast<double>(*unit);
    if (bytes >= static_cast<double>(kLimit) || bytes != std::floor(bytes)) return std::nullopt;
    return static_cast<uint64_t>(bytes);
}

std::string format_size(uint64_t bytes) {
    constexpr Unit kShown[] = {
        {"TiB", 1ULL << 40}, {"GiB", 1ULL << 30}, {"MiB", 1ULL << 20}, {"KiB", 1ULL << 10}};
    for (const Unit& unit : kShown) {
        if (bytes < unit.bytes) continue;
        if (bytes % unit.bytes == 0) return fmt::format("{} {}", bytes / unit.bytes, unit.name);
        if (unit.bytes == 1ULL << 10) break;  // few enough to be shown exactly
        return fmt::format("{:.2f} {}", static_cast<double>(bytes) / static_cast<double>(unit.bytes),
                           unit.name);
    }
    return fmt::format("{} bytes", bytes);
}

}  // namespace lagan::appliance
