// SPDX-License-Identifier: BSD-3-Clause
// What handlers of the node API share: a call, its route, and reading fields of a body in which everything is
// hostile.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "appliance/control_queue.h"
#include "appliance/node_service.h"
#include "mgmt/http/message.h"

namespace lagan::appliance {

// Thrown by what is below; becomes the reply.
struct Refused {
    http::Reply reply;
};
[[noreturn]] void refuse(unsigned status, const std::string& detail);

// The body as an object with no other fields than these.
nlohmann::json parse_body(const std::string& body, std::span<const std::string_view> known_fields);

// Of an object inside the body.
void known_fields_only(const nlohmann::json& object, std::span<const std::string_view> known_fields);

std::string text_field(const nlohmann::json& body, const char* key);
uint64_t size_field(const nlohmann::json& body, const char* key, bool required);  // 0 when it is not there
bool flag_field(const nlohmann::json& body, const char* key);  // false when it is not there
// `otherwise` when it is not there.
uint64_t number_field(const nlohmann::json& body, const char* key, uint64_t min, uint64_t max,
                      uint64_t otherwise);
// Of "?after=12&...", if it is there.
std::optional<uint64_t> number_in_query(std::string_view target, std::string_view key);

// What a handler gets: `name` is what stood at {} in the path, if the route has one.
struct Call {
    NodeService& service;
    ControlQueue& control;
    const http::Request& request;
    std::string name;
};

// What a route's handler waits for at most, besides the control thread; each has workers of its own.
enum class Waits : uint8_t { no, for_checkpoint, for_store, for_probe };

struct Route {
    std::string_view method;
    std::string_view path;  // {} stands for one path segment
    http::Reply (*handler)(const Call&);
    Waits waits = Waits::no;
};

// Checkpoints, restores, baselines, events (recovery_routes.cc).
std::span<const Route> recovery_routes();
// Rebuilds, probes (rebuild_routes.cc).
std::span<const Route> rebuild_routes();
// Heartbeats and fences (lease_routes.cc).
std::span<const Route> lease_routes();

// A region as the API shows it.
nlohmann::json to_json(const RegionStatus& region);

}  // namespace lagan::appliance
