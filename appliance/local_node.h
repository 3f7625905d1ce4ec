// SPDX-License-Identifier: BSD-3-Clause
// The node API's answers, from the running appliance.
#pragma once

#include "appliance/appliance.h"
#include "appliance/node_service.h"

namespace lagan::appliance {

ServiceError::Kind kind_of(memory::RegionError::Kind kind);

class LocalNode final : public NodeService {
  public:
    explicit LocalNode(Appliance& appliance) : a_(appliance) {}

    NodeStatus node() override;
    std::vector<RegionStatus> regions() override;
    RegionStatus region(const std::string& name) override;
    RegionStatus create_region(const RegionSpec& spec) override;
    void delete_region(const std::string& name, std::optional<uint64_t> epoch) override;
    HeartbeatReply heartbeat(const HeartbeatRequest& request) override;
    RegionStatus fence_region(const std::string& name, uint64_t epoch) override;
    IssuedGrant make_grant(const std::string& name, Role role, uint64_t ttl_s) override;
    nlohmann::json statistics() override;
    Recovery* recovery() override;
    Rebuilds* rebuilds() override;
    std::vector<recovery::Event> events_after(uint64_t number) override;

  private:
    void refuse_in_rescue(const char* what) const;
    memory::Region& find(const std::string& name);
    RegionStatus status_of(const memory::Region& region);
    std::vector<uint32_t> connections_of(const memory::Region& region);  // QPNs

    Appliance& a_;
};

}  // namespace lagan::appliance
