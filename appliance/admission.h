// SPDX-License-Identifier: BSD-3-Clause
// Who may connect: the grant in a connection request's private data decides (docs/protocol.md, "Connection").
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>

#include "appliance/grant.h"
#include "datapath/cm/connect_types.h"
#include "datapath/cm/engine_binding.h"
#include "datapath/memory/region_table.h"

namespace lagan::appliance {

// Control thread only. Everything it is given outlives it. `recovery_only`: a rescue, which refuses grants of
// other roles.
class Admission {
  public:
    Admission(const GrantKey& key, memory::RegionTable& regions, cm::EngineBinding& engines,
              uint32_t responder_resources, bool recovery_only)
        : key_(key),
          regions_(regions),
          engines_(engines),
          responder_resources_(static_cast<uint8_t>(responder_resources)),
          recovery_only_(recovery_only) {}

    // Accepted: the reply carries capsule::Welcome. Refused: a REJ of reason 28 whose private data is the
    // reason in words.
    cm::AcceptDecision decide(const cm::ConnectRequest& request, uint64_t now_unix_s);

    // How many were refused, by reason.
    nlohmann::json counters() const;

  private:
    static constexpr size_t kGrantErrors = static_cast<size_t>(GrantError::count_);
    static constexpr size_t kNoRegion = kGrantErrors;  // indices behind those of GrantError
    static constexpr size_t kNotRecovery = kGrantErrors + 1;
    static constexpr size_t kMoved = kGrantErrors + 2;
    cm::AcceptDecision refuse(size_t index);

    const GrantKey& key_;
    memory::RegionTable& regions_;
    cm::EngineBinding& engines_;
    const uint8_t responder_resources_;
    const bool recovery_only_;
    std::array<uint64_t, kGrantErrors + 3> refused_{};
};

}  // namespace lagan::appliance
