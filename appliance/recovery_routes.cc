// SPDX-License-Identifier: BSD-3-Clause
#include <fmt/format.h>

#include <array>
#include <limits>

#include "appliance/api_request.h"
#include "appliance/recovery.h"

namespace lagan::appliance {

using baseline::ErrorKind;
using baseline::StoreError;
using nlohmann::json;

namespace {

Recovery& recovery_of(const Call& call) {
    Recovery* recovery = call.service.recovery();
    if (recovery == nullptr)
        refuse(409,
               "this appliance makes no checkpoints: set baseline.store in its configuration (a rescue makes "
               "none)");
    return *recovery;
}

// An answer of the store's in place of an exception.
template <typename Work>
auto ask_store(Work&& work) {
    try {
        return work();
    } catch (const StoreError& error) {
        refuse(error.kind() == ErrorKind::missing   ? 404
               : error.kind() == ErrorKind::invalid ? 422
                                                    : 503,
               error.what());
    }
}

json to_json(const recovery::CheckpointStatus& status) {
    return {{"state", to_string(status.state)},
            {"problem", status.problem.empty() ? json() : json(status.problem)},
            {"tried_again", status.tried_again},
            {"cut_number", status.cut_number},
            {"cut_time_us", status.cut_time_us},
            {"pages", status.pages},
            {"pages_done", status.pages_done},
            {"bytes_written", status.bytes_written},
            {"seconds", status.seconds},
            {"failures", status.failures},
            {"live_bytes", status.live_bytes},
            {"stored_bytes", status.stored_bytes}};
}

json to_json(const std::vector<baseline::Loss>& losses) {
    json list = json::array();
    for (const baseline::Loss& loss : losses) {
        json pages = json::array();
        for (const baseline::PageRange& range : loss.pages)
            pages.push_back({{"first", range.first}, {"count", range.count}});
        list.push_back({{"object", loss.object}, {"reason", loss.reason}, {"pages", std::move(pages)}});
    }
    return list;
}

json to_json(const recovery::RestoreStatus& status) {
    return {{"region", status.region},
            {"state", to_string(status.state)},
            {"problem", status.problem.empty() ? json() : json(status.problem)},
            {"losses", to_json(status.losses)},
            {"cut_number", status.cut_number},
            {"cut_time_us", status.cut_time_us},
            {"pages", status.pages},
            {"pages_done", status.pages_done},
            {"bytes_read", status.bytes_read},
            {"damaged_pages", status.damaged_pages}};
}

json to_json(const baseline::CutInfo& cut) {
    return {{"manifest", cut.manifest_number},
            {"readable", cut.readable},
            {"problem", cut.problem.empty() ? json() : json(cut.problem)},
            {"cut_number", cut.cut_number},
            {"cut_time_us", cut.cut_time_us},
            {"epoch", cut.region.epoch},
            {"uid", fmt::format("{:016x}", cut.region.uid)},
            {"size_bytes", cut.region.size_bytes},
            {"data_pages", cut.data_pages},
            {"stored_bytes", cut.stored_bytes}};
}

// ---- Handlers ----

http::Reply get_checkpoint(const Call& call) {
    Recovery& recovery = recovery_of(call);
    return {.body = to_json(call.control.run([&] { return recovery.checkpoint(call.name); }))};
}

http::Reply start_checkpoint(const Call& call) {
    Recovery& recovery = recovery_of(call);
    call.control.run([&] { recovery.start_checkpoint(call.name); });
    http::Reply reply = get_checkpoint(call);
    reply.status = 202;
    return reply;
}

http::Reply cancel_checkpoint(const Call& call) {
    Recovery& recovery = recovery_of(call);
    call.control.run([&] { recovery.cancel_checkpoint(call.name); });
    return {.status = 204};
}

http::Reply list_restores(const Call& call) {
    json list = json::array();
    for (const auto& status : recovery_of(call).restorer().list())
        list.push_back(to_json(status));
    return {.body = {{"restores", std::move(list)}}};
}

http::Reply get_restore(const Call& call) {
    const auto status = recovery_of(call).restorer().status(call.name);
    if (!status) refuse(404, fmt::format("no restore of \"{}\" was asked for", call.name));
    return {.body = to_json(*status)};
}

http::Reply start_restore(const Call& call) {
    constexpr std::array<std::string_view, 4> kFields{"region", "manifest", "reserve", "overcommit"};
    const json body = parse_body(call.request.body, kFields);
    recovery::RestoreRequest request;
    request.region = text_field(body, "region");
    request.reserve_bytes = size_field(body, "reserve", false);
    request.overcommit = flag_field(body, "overcommit");
    if (body.contains("manifest"))
        request.manifest_number = number_field(body, "manifest", 1, std::numeric_limits<uint64_t>::max(), 0);
    Recovery& recovery = recovery_of(call);
    for (const RegionStatus& region : call.control.run([&] { return call.service.regions(); }))
        if (region.name == request.region && !region.restoring)
            refuse(409,
                   fmt::format(
                       "there is a region named {}: delete it first, if it is to be as it was at its last "
                       "checkpoint",
                       request.region));
    // Asked here, so that a wrong name is the answer and not a restore that fails.
    if (ask_store([&] { return recovery.cuts(request.region); }).empty())
        refuse(404, fmt::format("there is no baseline of \"{}\" in the store", request.region));
    if (!recovery.restorer().begin(request))
        refuse(409, fmt::format("region {} is being restored already", request.region));
    return {.status = 202, .body = to_json(*recovery.restorer().status(request.region))};
}

http::Reply cancel_restore(const Call& call) {
    recovery_of(call).restorer().cancel(call.name);
    return {.status = 204};
}

http::Reply list_baselines(const Call& call) {
    Recovery& recovery = recovery_of(call);
    return {.body = {{"baselines", ask_store([&] { return recovery.baselines(); })}}};
}

http::Reply get_baseline(const Call& call) {
    Recovery& recovery = recovery_of(call);
    json cuts = json::array();
    for (const auto& cut : ask_store([&] { return recovery.cuts(call.name); }))
        cuts.push_back(to_json(cut));
    if (cuts.empty()) refuse(404, fmt::format("there is no baseline of \"{}\" in the store", call.name));
    return {.body = {{"region", call.name}, {"cuts", std::move(cuts)}}};
}

http::Reply list_events(const Call& call) {
    json list = json::array();
    for (const recovery::Event& event :
         call.service.events_after(number_in_query(call.request.target, "after").value_or(0)))
        list.push_back({{"number", event.number},
                        {"time_ms", event.time_ms},
                        {"severity", to_string(event.severity)},
                        {"kind", event.kind},
                        {"region", event.region.empty() ? json() : json(event.region)},
                        {"text", event.text}});
    return {.body = {{"events", std::move(list)}}};
}

constexpr std::array<Route, 10> kRoutes{{
    {"GET", "v1/regions/{}/checkpoint", get_checkpoint},
    {"POST", "v1/regions/{}/checkpoint", start_checkpoint},
    {"DELETE", "v1/regions/{}/checkpoint", cancel_checkpoint},
    {"GET", "v1/restores", list_restores},
    {"POST", "v1/restores", start_restore, Waits::for_store},
    {"GET", "v1/restores/{}", get_restore},
    {"DELETE", "v1/restores/{}", cancel_restore},
    {"GET", "v1/baselines", list_baselines, Waits::for_store},
    {"GET", "v1/baselines/{}", get_baseline, Waits::for_store},
    {"GET", "v1/events", list_events},
}};

}  // namespace

std::span<const Route> recovery_routes() {
    return kRoutes;
}

}  // namespace lagan::appliance
