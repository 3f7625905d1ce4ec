// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/http/message.h"

#include <algorithm>

namespace lagan::http {

using nlohmann::json;

namespace {

bool same_name(std::string_view a, std::string_view b) {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [&](char x, char y) { return lower(x) == lower(y); });
}

}  // namespace

std::string Request::header(std::string_view name) const {
    std::string all;
    bool found = false;
    for (const auto& [key, value] : headers) {
        if (!same_name(key, name)) continue;
        all += (found ? ", " : "") + value;
        found = true;
    }
    return all;
}

const char* status_title(unsigned status) {
    switch (status) {
        case 200:
            return "OK";
        case 201:
            return "Created";
        case 202:
            return "Accepted";
        case 204:
            return "No Content";
        case 304:
            return "Not Modified";
        case 400:
            return "Bad Request";
        case 401:
            return "Unauthorized";
        case 403:
            return "Forbidden";
        case 404:
            return "Not Found";
        case 405:
            return "Method Not Allowed";
        case 406:
            return "Not Acceptable";
        case 408:
            return "Request Timeout";
        case 409:
            return "Conflict";
        case 412:
            return "Precondition Failed";
        case 413:
            return "Payload Too Large";
        case 415:
            return "Unsupported Media Type";
        case 422:
            return "Unprocessable Entity";
        case 429:
            return "Too Many Requests";
        case 431:
            return "Request Header Fields Too Large";
        case 500:
            return "Internal Server Error";
        case 502:
            return "Bad Gateway";
        case 503:
            return "Service Unavailable";
        case 504:
            return "Gateway Timeout";
        case 507:
            return "Insufficient Storage";
        default:
            return "Unknown";
    }
}

Reply problem(unsigned status, const std::string& detail) {
    return {.status = status,
            .body = {{"type", "about:blank"},
                     {"title", status_title(status)},
                     {"status", status},
                     {"detail", detail}},
            .problem = true};
}

std::string body_text(const Reply& reply) {
    if (reply.body.is_null()) return reply.text;
    // Names and paths come from outside: what is not UTF-8 is replaced, not thrown about.
    return reply.body.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

std::string content_type(const Reply& reply) {
    if (reply.body.is_null()) return reply.content_type;
    return reply.problem ? "application/problem+json" : "application/json";
}

}  // namespace lagan::http
