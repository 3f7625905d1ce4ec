// SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>
#include <array>
#include <charconv>

#include "mgmt/cluster/api_fields.h"

namespace lagan::cluster {

using nlohmann::json;

namespace {

uint64_t number_of(const std::string& text, const char* what) {
    uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (!text.empty() && (error != std::errc{} || end != text.data() + text.size()))
        refuse(400, std::string(what) + ": must be a whole number");
    return number;
}

// A tenant sees what happens to its regions, and not on which machine or why.
std::optional<EventRecord> seen_by(const TokenRecord& caller, EventRecord event) {
    if (caller.role != TokenRole::tenant) return event;
    if (event.region.empty() || event.tenant != caller.tenant) return std::nullopt;
    event.node.clear();
    event.text = event.kind;
    std::replace(event.text.begin(), event.text.end(), '_', ' ');
    return event;
}

http::Reply list_events(const ApiCall& call) {
    const std::string last = call.request.header("Last-Event-ID");
    const uint64_t after =
        number_of(last.empty() ? call.query("after") : last, last.empty() ? "after" : "Last-Event-ID");
    if (call.request.header("Accept").find("text/event-stream") != std::string::npos) {
        http::Reply reply;
        reply.content_type = "text/event-stream";
        reply.headers.emplace_back("Cache-Control", "no-store");
        reply.stream = std::make_shared<http::EventStream>();
        const TokenRecord& caller = call.caller;
        if (!call.parts.events.listen(
                reply.stream, after,
                {.owner = caller.hash,
                 .seen = [caller](EventRecord event) { return seen_by(caller, std::move(event)); },
                 .still_allowed = [caller, &tokens = call.parts.tokens] { return tokens.is_there(caller); }}))
            refuse(429, "this token has as many event streams as one may have: end one of them");
        return reply;
    }
    const Page page = page_of(call, kEventPrefix);
    const uint64_t read = std::max(page.limit + 1, kLeastRead);
    json events = json::array();
    std::string last_key = page.after.empty() ? event_key(after) : page.after;
    for (;;) {
        const auto entries = call.parts.directory.list(kEventPrefix, last_key, read);
        for (const Entry& entry : entries) {
            if (const auto event = seen_by(call.caller, entry.value.get<EventRecord>())) {
                if (events.size() == page.limit)
                    return page_reply("events", std::move(events), last_key, true);
                events.push_back(public_json(*event));
            }
            last_key = entry.key;
        }
        if (entries.size() < read) return page_reply("events", std::move(events), last_key, false);
    }
}

constexpr std::array<ApiRoute, 1> kRoutes{{{"GET", "/v1/events", Access::read, list_events}}};

}  // namespace

std::span<const ApiRoute> event_routes() {
    return kRoutes;
}

}  // namespace lagan::cluster
