// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/cluster/api_fields.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <boost/algorithm/hex.hpp>
#include <charconv>
#include <vector>

#include "appliance/size_text.h"

namespace lagan::cluster {

using nlohmann::json;

namespace {

constexpr int kMaxJsonDepth = 8;
constexpr size_t kMaxName = 63;
constexpr uint64_t kPageLimit = 100;
constexpr uint64_t kMaxPageLimit = 1000;

bool is_name_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

}  // namespace

void refuse(unsigned status, const std::string& detail) {
    throw Refused{http::problem(status, detail)};
}

Fields::Fields(const std::string& body, std::initializer_list<std::string_view> known)
    : body_(json::object()) {
    // A callback that refuses depth keeps nested input from using the stack up.
    const auto limit_depth = [](int depth, json::parse_event_t, json&) {
        if (depth > kMaxJsonDepth) refuse(400, fmt::format("JSON nested more than {} deep", kMaxJsonDepth));
        return true;
    };
    if (!body.empty()) body_ = json::parse(body, limit_depth, false);
    if (body_.is_discarded()) refuse(400, "the body is not JSON");
    if (!body_.is_object()) refuse(400, "the body must be a JSON object");
    for (const auto& [key, value] : body_.items())
        if (std::find(known.begin(), known.end(), key) == known.end())
            refuse(422, fmt::format("unknown field; this request takes: {}", fmt::join(known, ", ")));
}

std::string Fields::text(const char* key) const {
    if (!body_.contains(key)) refuse(422, fmt::format("{}: is missing", key));
    return text(key, "");
}

std::string Fields::text(const char* key, const std::string& otherwise) const {
    const auto field = body_.find(key);
    if (field == body_.end() || field->is_null()) return otherwise;
    if (!field->is_string()) refuse(422, fmt::format("{}: must be text", key));
    return field->get<std::string>();
}

uint64_t Fields::size(const char* key, bool required) const {
    const auto field = body_.find(key);
    if (field == body_.end()) {
        if (required) refuse(422, fmt::format("{}: is missing", key));
        return 0;
    }
    if (field->is_number_unsigned()) return field->get<uint64_t>();
    if (field->is_string())
        if (const auto bytes = appliance::parse_size(field->get_ref<const std::string&>())) return *bytes;
    refuse(422, fmt::format("{}: must be a size: {}", key, appliance::kSizeSyntax));
}

uint64_t Fields::number(const char* key, uint64_t min, uint64_t max, uint64_t otherwise) const {
    const auto field = body_.find(key);
    if (field == body_.end()) return otherwise;
    if (!field->is_number_unsigned() || *field < min || *field > max)
        refuse(422, fmt::format("{}: must be a whole number from {} to {}", key, min, max));
    return field->get<uint64_t>();
}

bool Fields::flag(const char* key, bool otherwise) const {
    const auto field = body_.find(key);
    if (field == body_.end()) return otherwise;
    if (!field->is_boolean()) refuse(422, fmt::format("{}: must be true or false", key));
    return field->get<bool>();
}

std::string checked_name(const std::string& name, const char* what) {
    if (name.empty() || name.size() > kMaxName || !std::all_of(name.begin(), name.end(), is_name_character))
        refuse(422, fmt::format("{}: must be 1 to {} letters, digits, '.', '_' or '-'", what, kMaxName));
    return name;
}

std::string ApiCall::query(std::string_view key) const {
    const size_t question = request.target.find('?');
    if (question == std::string::npos) return "";
    std::string_view rest = std::string_view(request.target).substr(question + 1);
    while (!rest.empty()) {
        const std::string_view part = rest.substr(0, rest.find('&'));
        rest.remove_prefix(std::min(rest.size(), part.size() + 1));
        if (part.starts_with(key) && part.substr(key.size(), 1) == "=")
            return std::string(part.substr(key.size() + 1));
    }
    return "";
}

Page page_of(const ApiCall& call, const std::string& prefix) {
    Page page{.limit = kPageLimit, .after = ""};
    if (const std::string limit = call.query("limit"); !limit.empty()) {
        const auto [end, error] = std::from_chars(limit.data(), limit.data() + limit.size(), page.limit);
        if (error != std::errc{} || end != limit.data() + limit.size() || page.limit == 0 ||
            page.limit > kMaxPageLimit)
            refuse(400, fmt::format("limit: must be a whole number from 1 to {}", kMaxPageLimit));
    }
    if (const std::string cursor = call.query("cursor"); !cursor.empty()) {
        try {
            boost::algorithm::unhex(cursor, std::back_inserter(page.after));
        } catch (const boost::algorithm::hex_decode_error&) {
            page.after.clear();
        }
        if (!page.after.starts_with(prefix)) refuse(400, "cursor: take \"next\" of the page before");
    }
    return page;
}

http::Reply page_reply(const char* key, json items, const std::string& last_key, bool more) {
    return {.body = {{key, std::move(items)},
                     {"next", more ? json(boost::algorithm::hex_lower(last_key)) : json()}}};
}

http::Reply from_node(const ApiCall& call, const NodeError& error) {
    // No answer of a node is a bad gateway; what it refuses is told with its own status.
    const unsigned status = error.status == 0 ? 502 : error.status;
    if (!call.is_tenant()) return http::problem(status, error.what());
    return http::problem(status, error.status == 0 ? "the region's node does not answer"
                                                   : "the region's node does not do this");
}

bool is_forced(const ApiCall& call) {
    const std::string force = call.query("force");
    if (!force.empty() && force != "true" && force != "false") refuse(400, "force: must be true or false");
    if (force == "true" && call.caller.role != TokenRole::admin)
        refuse(403, "force is for a token of the role admin");
    return force == "true";
}

}  // namespace lagan::cluster
