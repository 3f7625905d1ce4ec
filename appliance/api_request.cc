// SPDX-License-Identifier: BSD-3-Clause
#include "appliance/api_request.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

#include "appliance/size_text.h"

namespace lagan::appliance {

using nlohmann::json;

namespace {

constexpr int kMaxJsonDepth = 16;

}  // namespace

void refuse(unsigned status, const std::string& detail) {
    throw Refused{http::problem(status, detail)};
}

json parse_body(const std::string& body, std::span<const std::string_view> known_fields) {
    // A callback that refuses depth keeps nested input from using the stack up.
    const auto limit_depth = [](int depth, json::parse_event_t, json&) {
        if (depth > kMaxJsonDepth) refuse(400, fmt::format("JSON nested more than {} deep", kMaxJsonDepth));
        return true;
    };
    json parsed;
    try {
        parsed = json::parse(body, limit_depth);
    } catch (const json::exception& error) {
        // Some messages quote the text, which need not be UTF-8 and is nobody's business: give the place
        // only.
        const auto* syntax = dynamic_cast<const json::parse_error*>(&error);
        refuse(400,
               fmt::format("the body is not JSON (error at byte {})", syntax != nullptr ? syntax->byte : 0));
    }
    if (!parsed.is_object()) refuse(400, "the body must be a JSON object");
    known_fields_only(parsed, known_fields);
    return parsed;
}

void known_fields_only(const json& object, std::span<const std::string_view> known_fields) {
    for (const auto& [key, value] : object.items()) {
        if (std::find(known_fields.begin(), known_fields.end(), key) == known_fields.end()) {
            refuse(422, fmt::format("unknown field; this request takes: {}", fmt::join(known_fields, ", ")));
        }
    }
}

std::string text_field(const json& body, const char* key) {
    const auto field = body.find(key);
    if (field == body.end()) refuse(422, fmt::format("{}: is missing", key));
    if (!field->is_string()) refuse(422, fmt::format("{}: must be text", key));
    return field->get<std::string>();
}

uint64_t size_field(const json& body, const char* key, bool required) {
    const auto field = body.find(key);
    if (field == body.end()) {
        if (required) refuse(422, fmt::format("{}: is missing", key));
        return 0;
    }
    if (field->is_number_unsigned()) return field->get<uint64_t>();
    if (field->is_string()) {
        if (const auto bytes = parse_size(field->get_ref<const std::string&>())) return *bytes;
    }
    refuse(422, fmt::format("{}: must be a size: {}", key, kSizeSyntax));
}

bool flag_field(const json& body, const char* name) {
    const auto field = body.find(name);
    if (field == body.end()) return false;
    if (!field->is_boolean()) refuse(422, std::string(name) + ": must be true or false");
    return field->get<bool>();
}

uint64_t number_field(const json& body, const char* key, uint64_t min, uint64_t max, uint64_t otherwise) {
    const auto field = body.find(key);
    if (field == body.end()) return otherwise;
    if (!field->is_number_unsigned() || *field < min || *field > max)
        refuse(422, fmt::format("{}: must be a whole number from {} to {}", key, min, max));
    return field->get<uint64_t>();
}

std::optional<uint64_t> number_in_query(std::string_view target, std::string_view key) {
    const size_t question = target.find('?');
    std::string_view query =
        question == std::string_view::npos ? std::string_view() : target.substr(question + 1);
    while (!query.empty()) {
        const std::string_view part = query.substr(0, query.find('&'));
        query.remove_prefix(std::min(query.size(), part.size() + 1));
        if (!part.starts_with(key) || part.substr(key.size(), 1) != "=") continue;
        const std::string_view digits = part.substr(key.size() + 1);
        uint64_t value = 0;
        const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
        if (error != std::errc{} || end != digits.data() + digits.size())
            refuse(400, fmt::format("{}: must be a whole number", key));
        return value;
    }
    return std::nullopt;
}

}  // namespace lagan::appliance
