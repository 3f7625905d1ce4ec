// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/cluster/api.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include "mgmt/cluster/api_fields.h"

namespace lagan::cluster {

using nlohmann::json;

namespace {

constexpr size_t kMaxKey = 128;
constexpr uint64_t kUnfinishedMs = 60'000;  // a request of this age has died with its manager

// Whether `path` is of the route's form; `name` becomes what stood at {}.
bool matches(std::string_view pattern, std::string_view path, std::string& name) {
    const size_t hole = pattern.find("{}");
    if (hole == std::string_view::npos) return pattern == path;
    const std::string_view front = pattern.substr(0, hole), back = pattern.substr(hole + 2);
    if (path.size() <= front.size() + back.size() || !path.starts_with(front) || !path.ends_with(back))
        return false;
    const std::string_view middle = path.substr(hole, path.size() - front.size() - back.size());
    if (middle.find('/') != std::string_view::npos) return false;
    name = middle;
    return true;
}

bool may(TokenRole role, Access access) {
    switch (access) {
        case Access::open:
        case Access::read:
            return true;
        case Access::observe:
            return role != TokenRole::tenant;
        case Access::use:
            return role != TokenRole::viewer;
        case Access::operate:
            return role == TokenRole::operate || role == TokenRole::admin;
        case Access::admin:
            return role == TokenRole::admin;
    }
    return false;
}

http::Reply unauthorized(const std::string& detail) {
    http::Reply reply = http::problem(401, detail);
    reply.headers.emplace_back("WWW-Authenticate", "Bearer");
    return reply;
}

http::Reply of_directory(const DirectoryError& error) {
    http::Reply reply = http::problem(error.kind == DirectoryError::Kind::no_space ? 507 : 503, error.what());
    if (reply.status == 503) reply.headers.emplace_back("Retry-After", "1");
    return reply;
}

[[noreturn]] void refuse_for_now() {
    http::Reply reply = http::problem(409, "a request with this Idempotency-Key is being carried out");
    reply.headers.emplace_back("Retry-After", "1");
    throw Refused{reply};
}

}  // namespace

std::vector<ApiRoute> all_routes() {
    std::vector<ApiRoute> routes;
    for (const auto part :
         {system_routes(), node_routes(), region_routes(), failover_routes(), event_routes()})
        routes.insert(routes.end(), part.begin(), part.end());
    return routes;
}

http::Reply Api::handle(const http::Request& request) {
    try {
        return dispatch(request);
    } catch (const Refused& refused) {
        return refused.reply;
    } catch (const DirectoryError& error) {
        return of_directory(error);
    } catch (const std::exception& error) {
        spdlog::error("{} {}: {}", request.method, request.target.substr(0, request.target.find('?')),
                      error.what());
        return http::problem(500, "this is a mistake of lagan-mgmtd's: its log says more");
    }
}

http::Reply Api::dispatch(const http::Request& request) {
    const std::string path = request.target.substr(0, request.target.find('?'));
    std::vector<std::string_view> allowed;
    for (const ApiRoute& route : routes_) {
        std::string name;
        if (!matches(route.path, path, name)) continue;
        if (route.method == request.method) return authorized(route, request, name);
        allowed.push_back(route.method);
    }
    if (allowed.empty()) refuse(404, "there is no such resource; /openapi.json lists them");
    http::Reply reply = http::problem(405, fmt::format("this resource takes {}", fmt::join(allowed, ", ")));
    reply.headers.emplace_back("Allow", fmt::format("{}", fmt::join(allowed, ", ")));
    return reply;
}

http::Reply Api::authorized(const ApiRoute& route, const http::Request& request, const std::string& name) {
    ApiCall call{.parts = parts_, .request = request, .caller = {}, .name = name};
    if (route.access == Access::open) return route.handler(call);
    constexpr std::string_view kBearer = "Bearer ";
    const std::string header = request.header("Authorization");
    if (!header.starts_with(kBearer))
        return unauthorized(
            "this needs a token: Authorization: Bearer TOKEN; 'lagan-mgmtd token create' makes one");
    const auto token = parts_.tokens.find(header.substr(kBearer.size()));
    if (!token) return unauthorized("nobody has this token; it may have been removed");
    call.caller = *token;
    if (!may(token->role, route.access))
        refuse(403, fmt::format("a token of the role {} may not do this", to_string(token->role)));
    const std::string key = request.header("Idempotency-Key");
    if (route.method == "POST" && !key.empty()) {
        if (!route.repeatable)
            refuse(400,
                   "this request takes no Idempotency-Key: its answer is told only once, or changes nothing");
        return once(route, call, key);
    }
    try {
        return route.handler(call);
    } catch (const NodeError& error) {
        return from_node(call, error);
    }
}

// The same key again gets the answer of the first request. It is on record before anything is done: of two at
// the same time one waits in vain.
http::Reply Api::once(const ApiRoute& route, const ApiCall& call, const std::string& key) {
    if (key.size() > kMaxKey) refuse(400, fmt::format("Idempotency-Key: at most {} characters", kMaxKey));
    const std::string place = kReplyPrefix + sha256_hex(call.caller.hash + "\n" + key);
    const std::string what =
        sha256_hex(call.request.method + " " + call.request.target + "\n" + call.request.body);
    const uint64_t now_ms = parts_.clocks.unix_ms();
    const json begun{{"request", what}, {"time_ms", now_ms}, {"status", 0}, {"body", json()}};
    auto revision = parts_.directory.put(place, begun, Directory::kAbsent);
    if (!revision) {
        const auto entry = parts_.directory.get(place);
        if (!entry) refuse(409, "the request was just given up: send it again");
        if (entry->value.at("request") != what)
            refuse(422, "this Idempotency-Key was used for another request");
        if (entry->value.at("status") != 0) {
            http::Reply reply{.status = entry->value.at("status"), .body = entry->value.at("body")};
            reply.problem = reply.status >= 400;
            reply.headers.emplace_back("Idempotent-Replayed", "true");
            return reply;
        }
        if (entry->value.at("time_ms").get<uint64_t>() + kUnfinishedMs > now_ms) refuse_for_now();
        revision = parts_.directory.put(place, begun, entry->revision);
        if (!revision) refuse_for_now();
    }
    http::Reply reply;
    try {
        reply = route.handler(call);
    } catch (const Refused& refused) {
        reply = refused.reply;
    } catch (const NodeError& error) {
        reply = from_node(call, error);
    } catch (const std::exception&) {  // of the directory: it may be tried again, when that answers
        parts_.directory.remove(place, *revision);
        throw;
    }
    if (reply.status >= 500 || reply.status == 409) {  // may be tried again
        parts_.directory.remove(place, *revision);
        return reply;
    }
    json end = begun;
    end["status"] = reply.status;
    // What a caller has sent, and is told again, need not be UTF-8.
    end["body"] = json::parse(reply.body.dump(-1, ' ', false, json::error_handler_t::replace));
    parts_.directory.put(place, end, *revision);
    return reply;
}

}  // namespace lagan::cluster
