// SPDX-License-Identifier: BSD-3-Clause
#include <fmt/format.h>

#include <array>
#include <boost/algorithm/hex.hpp>
#include <charconv>
#include <limits>

#include "appliance/api_request.h"
#include "appliance/grant.h"
#include "appliance/rebuilds.h"

namespace lagan::appliance {

using nlohmann::json;
using recovery::RebuildRequest;
using recovery::RebuildStatus;
using recovery::SourceAddress;
using recovery::SourceError;
using namespace std::chrono_literals;

namespace {

constexpr uint64_t kMost = std::numeric_limits<uint64_t>::max();
constexpr auto kCancelWithin = 20s;
constexpr uint64_t kProbeMs = 1000, kMaxProbeMs = 10'000;

Rebuilds& rebuilds_of(const Call& call) {
    Rebuilds* rebuilds = call.service.rebuilds();
    if (rebuilds == nullptr) refuse(409, "a rescue rebuilds nothing, and asks nobody");
    return *rebuilds;
}

// As GET /v1/regions shows it: 16 hexadecimal digits.
uint64_t uid_field(const json& body, const char* key) {
    const std::string text = text_field(body, key);
    uint64_t uid = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), uid, 16);
    if (error != std::errc() || end != text.data() + text.size() || uid == 0)
        refuse(422, fmt::format("{}: must be hexadecimal digits, as the region's listing has them", key));
    return uid;
}

SourceAddress address_of(const json& body) {
    SourceAddress address;
    address.address = text_field(body, "address");
    address.port = static_cast<uint16_t>(number_field(body, "port", 1, 65535, 0));
    const std::string grant = text_field(body, "grant");
    try {
        boost::algorithm::unhex(grant, std::back_inserter(address.grant));
    } catch (const boost::algorithm::hex_decode_error&) {
        address.grant.clear();
    }
    if (address.grant.size() != kGrantBytes)
        refuse(422, fmt::format("grant: must be {} hexadecimal digits", 2 * kGrantBytes));
    if (address.port == 0) refuse(422, "port: is missing");
    return address;
}

void check_fields(const json& body, std::span<const std::string_view> known) {
    if (!body.is_object()) refuse(422, "source: must be an object or null");
    for (const auto& [key, value] : body.items())
        if (std::find(known.begin(), known.end(), key) == known.end())
            refuse(422, fmt::format("source: unknown field \"{}\"", key));
}

RebuildRequest request_of(const std::string& text) {
    constexpr std::array<std::string_view, 9> kFields{"region",     "uid",           "epoch",
                                                      "size_bytes", "reserve_bytes", "overcommit",
                                                      "source",     "baseline",      "managed"};
    constexpr std::array<std::string_view, 4> kSourceFields{"address", "port", "grant", "epoch"};
    const json body = parse_body(text, kFields);
    RebuildRequest request;
    request.region = text_field(body, "region");
    request.uid = uid_field(body, "uid");
    request.epoch = number_field(body, "epoch", 2, kMost, 0);
    request.size_bytes = size_field(body, "size_bytes", true);
    request.reserve_bytes = size_field(body, "reserve_bytes", false);
    request.overcommit = flag_field(body, "overcommit");
    request.baseline = flag_field(body, "baseline");
    request.managed = flag_field(body, "managed");
    if (request.epoch == 0) refuse(422, "epoch: is missing");
    if (request.size_bytes == 0 || request.size_bytes % memory::kPageBytes != 0)
        refuse(422, "size_bytes: must be a whole number of pages of 4096");
    if (body.contains("source") && !body["source"].is_null()) {
        check_fields(body["source"], kSourceFields);
        request.source = address_of(body["source"]);
        request.source->epoch = number_field(body["source"], "epoch", 1, request.epoch - 1, 0);
    }
    if (!request.source && !request.baseline)
        refuse(422, "source, baseline: one of them must be there, or there is nothing to rebuild from");
    return request;
}

json to_json(const RebuildStatus& status) {
    return {{"region", status.region},
            {"uid", fmt::format("{:016x}", status.uid)},
            {"epoch", status.epoch},
            {"state", to_string(status.state)},
            {"problem", status.problem.empty() ? json() : json(status.problem)},
            {"fenced", status.fenced},
            {"pages_listed", status.pages_listed},
            {"pages_pulled", status.pages_pulled},
            {"pages_from_baseline", status.pages_from_baseline},
            {"pages_pending", status.pages_pending},
            {"damaged_pages", status.damaged_pages},
            {"bytes_per_s", status.bytes_per_s},
            {"first_page_ms", status.first_page_ms ? json(*status.first_page_ms) : json()},
            {"rolled_back", status.rolled_back},
            {"cut_number", status.cut_number},
            {"cut_time_us", status.cut_time_us},
            {"seconds", status.seconds}};
}

// ---- Handlers ----

http::Reply start_rebuild(const Call& call) {
    const RebuildRequest request = request_of(call.request.body);
    Rebuilds& rebuilds = rebuilds_of(call);
    return {.status = 202, .body = to_json(call.control.run([&] { return rebuilds.start(request); }))};
}

http::Reply list_rebuilds(const Call& call) {
    json list = json::array();
    for (const RebuildStatus& status : rebuilds_of(call).rebuilder().list())
        list.push_back(to_json(status));
    return {.body = {{"rebuilds", std::move(list)}}};
}

http::Reply get_rebuild(const Call& call) {
    const auto status = rebuilds_of(call).rebuilder().status(call.name);
    if (!status)
        refuse(404, fmt::format("no rebuild of \"{}\" was asked for since lagand's start", call.name));
    return {.body = to_json(*status)};
}

// What is there of the region goes; one that is whole stays. Of another epoch than ?epoch=, all does: who
// asks late, for an attempt that was given up, does not end the next one.
http::Reply drop_rebuild(const Call& call) {
    Rebuilds& rebuilds = rebuilds_of(call);
    const uint64_t epoch = number_in_query(call.request.target, "epoch").value_or(0);
    if (!rebuilds.rebuilder().forget(call.name, epoch, kCancelWithin))
        refuse(503, fmt::format("the rebuild of {} is being cancelled; try again", call.name));
    call.control.run([&] {
        for (const RegionStatus& region : call.service.regions())
            if (region.name == call.name && region.rebuilding && (epoch == 0 || region.epoch == epoch))
                call.service.delete_region(call.name, region.epoch);
    });
    return {.status = 204};
}

http::Reply probe(const Call& call) {
    constexpr std::array<std::string_view, 4> kFields{"address", "port", "grant", "timeout_ms"};
    const json body = parse_body(call.request.body, kFields);
    const SourceAddress where = address_of(body);
    const std::chrono::milliseconds patience(number_field(body, "timeout_ms", 1, kMaxProbeMs, kProbeMs));
    try {
        return {.body = {{"reachable", true}, {"heartbeat", rebuilds_of(call).probe(where, patience)}}};
    } catch (const SourceError& error) {
        if (error.why == SourceError::Why::not_asked) refuse(503, error.what());
        const std::string why = error.why == SourceError::Why::cancelled
                                    ? fmt::format("no answer within {} ms", patience.count())
                                    : error.what();
        return {.body = {{"reachable", false},
                         // It has said no, so it lives.
                         {"refused", error.why == SourceError::Why::refused},
                         {"problem", why}}};
    }
}

constexpr std::array<Route, 5> kRoutes{{
    {"GET", "v1/rebuilds", list_rebuilds},
    {"POST", "v1/rebuilds", start_rebuild},
    {"GET", "v1/rebuilds/{}", get_rebuild},
    {"DELETE", "v1/rebuilds/{}", drop_rebuild, Waits::for_checkpoint},
    {"POST", "v1/probes", probe, Waits::for_probe},
}};

}  // namespace

std::span<const Route> rebuild_routes() {
    return kRoutes;
}

}  // namespace lagan::appliance
