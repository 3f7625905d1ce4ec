// SPDX-License-Identifier: BSD-3-Clause
#include "appliance/admission.h"

#include <cstring>

#include "datapath/capsule.h"
#include "datapath/roce/qp.h"

namespace lagan::appliance {

namespace {

constexpr const char* kNoRegionText = "the grant is for a region that does not exist (any more)";
constexpr const char* kNotRecoveryText =
    "a rescue of a dead lagand's regions: it takes grants to recover only";

std::vector<uint8_t> welcome(const memory::Region& region) {
    capsule::Welcome message{};
    message.version = capsule::kVersion;
    message.region_id = region.id;
    message.page_bytes = memory::kPageBytes;
    message.data_rkey = region.data_rkey;
    message.dirty_rkey = region.dirty_rkey;
    message.size_bytes = region.size_bytes;
    message.epoch = region.epoch;
    message.dirty_bytes = region.dirty->memory().size();
    const auto* bytes = reinterpret_cast<const uint8_t*>(&message);
    return {bytes, bytes + sizeof message};
}

}  // namespace

cm::AcceptDecision Admission::refuse(size_t index) {
    refused_[index]++;
    const char* why = index == kNoRegion      ? kNoRegionText
                      : index == kNotRecovery ? kNotRecoveryText
                      : index == kMoved       ? capsule::kMovedReason
                                              : to_string(static_cast<GrantError>(index));
    return cm::AcceptDecision::reject({reinterpret_cast<const uint8_t*>(why), std::strlen(why)});
}

cm::AcceptDecision Admission::decide(const cm::ConnectRequest& request, uint64_t now_unix_s) {
    Grant grant;
    const GrantError error = key_.verify(request.private_data, now_unix_s, grant);
    if (error != GrantError::none) return refuse(static_cast<size_t>(error));
    if (recovery_only_ && grant.role != Role::recover) return refuse(kNotRecovery);
    const memory::Region* region = regions_.find(grant.region_id);
    if (region == nullptr || region->restoring) return refuse(kNoRegion);
    if (region->lease.is_fenced() && grant.role != Role::recover) return refuse(kMoved);
    return {.accepted = true,
            .private_data = welcome(*region),
            .region_id = region->id,
            .data_rkey = region->data_rkey,
            .role = grant.role,
            .engine = engines_.choose_engine(request.path.port_id),
            // Whoever rebuilds a region reads nothing but this one's pages, and people wait for it.
            .max_responder_resources =
                grant.role == Role::recover ? static_cast<uint8_t>(kMaxReadDepth) : responder_resources_};
}

nlohmann::json Admission::counters() const {
    nlohmann::json counters;
    for (size_t i = 1; i < kGrantErrors; ++i)
        counters[grant_error_name(static_cast<GrantError>(i))] = refused_[i];
    counters["no_region"] = refused_[kNoRegion];
    counters["moved"] = refused_[kMoved];
    counters["not_recovery"] = refused_[kNotRecovery];
    return counters;
}

}  // namespace lagan::appliance
