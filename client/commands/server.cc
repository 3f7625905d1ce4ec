// SPDX-License-Identifier: BSD-3-Clause
#include "client/commands/server.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>
#include <thread>

#include "client/commands/event_source.h"

namespace lagan::client::commands {

using nlohmann::json;
using namespace std::chrono_literals;
using http::ClientError;
using std::chrono::steady_clock;

namespace {

constexpr auto kAskAgain = 250ms;
constexpr auto kStreamSilence = 40s;  // a manager sends a comment every 15 s
constexpr auto kMostSilence = 60s;

bool may_pass(const http::Response& response) {
    return (response.status == 503 || response.status == 409) &&
           std::any_of(response.headers.begin(), response.headers.end(),
                       [](const auto& header) { return header.first == "Retry-After"; });
}

json body_of(const http::Response& response) {
    if (response.status < 200 || response.status >= 300) throw Refused(response.status, detail_of(response));
    if (response.body.empty()) return nullptr;
    json body = json::parse(response.body, nullptr, false);
    if (body.is_discarded())
        throw std::runtime_error("what answered is not lagan-mgmtd: the answer is not JSON");
    return body;
}

std::string new_key() {
    std::random_device random;
    return fmt::format("lagan-{:08x}{:08x}{:08x}{:08x}", random(), random(), random(), random());
}

}  // namespace

Server::Server(const Where& where, std::chrono::milliseconds patience) : where_(where), patience_(patience) {
    if (where.manager.urls.empty())
        appliance_.emplace(where.appliance, patience);
    else
        managers_.emplace(where.manager);
}

json Server::ask_appliance(const std::string& method, const std::string& target, const json& body) const {
    const NodeReply reply = method == "GET"    ? appliance_->get(target)
                            : method == "POST" ? appliance_->post(target, body)
                                               : appliance_->del(target);
    if (!reply.ok()) throw Refused(reply.status, reply.error());
    return reply.body;
}

Server::Attempt Server::ask_each(const std::string& method, const std::string& target,
                                 const std::string& body, const http::Headers& headers) {
    Attempt attempt;
    std::string& why = attempt.why;
    for (size_t i = 0; i < managers_->count(); ++i) {
        try {
            attempt.response = managers_->call(i, method, target, body, headers, patience_);
            managers_->prefer(i);
            return attempt;
        } catch (const http::ClientError& error) {
            why += (why.empty() ? "the manager at " : "; the manager at ") + std::string(error.what());
            attempt.sent |= error.kind == ClientError::Kind::late || error.kind == ClientError::Kind::broken;
            if (attempt.sent && method != "GET" && headers.empty())
                throw std::runtime_error(why + " (look whether it has been done before you ask again)");
        }
    }
    return attempt;
}

json Server::ask(const std::string& method, const std::string& target, const json& body,
                 const std::string& key) {
    if (!is_manager()) return ask_appliance(method, target, body);
    const auto end = steady_clock::now() + patience_;
    const http::Headers headers = key.empty() ? http::Headers{} : http::Headers{{"Idempotency-Key", key}};
    const std::string text = body.is_null() ? std::string() : body.dump();
    for (;; std::this_thread::sleep_for(kAskAgain)) {
        const Attempt attempt = ask_each(method, target, text, headers);
        const bool again = attempt.response ? may_pass(*attempt.response) : attempt.sent;
        if (again && steady_clock::now() < end) continue;
        if (attempt.response) return body_of(*attempt.response);
        throw std::runtime_error(attempt.why + " (is lagan-mgmtd running, and is this where it listens?)");
    }
}

json Server::get(const std::string& target) {
    return ask("GET", target, nullptr, {});
}

json Server::patch(const std::string& target, const json& body) {
    return ask("PATCH", target, body, {});
}

json Server::del(const std::string& target) {
    return ask("DELETE", target, nullptr, {});
}

json Server::post(const std::string& target, const json& body) {
    return ask("POST", target, body, {});
}

json Server::create(const std::string& target, const json& body, const std::string& key) {
    return ask("POST", target, body, key.empty() ? new_key() : key);
}

json Server::list(const std::string& target, const char* key) {
    json all = get(is_manager() ? target + (target.find('?') == std::string::npos ? "?" : "&") + "limit=1000"
                                : target);
    json page = all;
    while (page.contains("next") && page.at("next").is_string()) {
        page = get(fmt::format("{}{}limit=1000&cursor={}", target,
                               target.find('?') == std::string::npos ? "?" : "&",
                               page.at("next").get<std::string>()));
        for (json& item : page.at(key))
            all.at(key).push_back(std::move(item));
    }
    all.erase("next");
    return all;
}

void Server::follow_events(uint64_t after, const std::function<bool(const json&)>& take) {
    std::optional<steady_clock::time_point> heard;
    std::string why;
    for (bool wanted = true; wanted; std::this_thread::sleep_for(kAskAgain)) {
        for (size_t i = 0; wanted && i < managers_->count(); ++i) {
            EventSource events([&](const std::string& data) {
                const json event = json::parse(data);
                after = std::max(after, event.at("number").get<uint64_t>());
                return wanted = take(event);
            });
            try {
                const http::Response response = managers_->follow(
                    i, "/v1/events",
                    {{"Accept", "text/event-stream"}, {"Last-Event-ID", std::to_string(after)}},
                    kStreamSilence, [&](std::string_view piece) {
                        heard = steady_clock::now();
                        return events.feed(piece);
                    });
                if (response.status != 200 && !may_pass(response)) body_of(response);
                why = fmt::format(
                    "{}: {}", managers_->name(i),
                    response.status == 200 ? "its stream of events has ended" : detail_of(response));
            } catch (const ClientError& error) {
                why = error.what();
            }
        }
        if (wanted && (!heard || steady_clock::now() - *heard > kMostSilence))
            throw std::runtime_error("no events: the manager at " + why);
    }
}

}  // namespace lagan::client::commands
