// SPDX-License-Identifier: BSD-3-Clause
// NodeClient over the node API: HTTP on a unix socket, or with mutual TLS.
#pragma once

#include <memory>

#include "mgmt/cluster/node_client.h"
#include "mgmt/http/client.h"

namespace lagan::cluster {

class HttpNodeClient final : public NodeClient {
  public:
    struct Options {
        http::ClientTlsFiles tls;                          // for nodes with https; ca empty: there are none
        std::chrono::milliseconds heartbeat_timeout{600};  // a node that takes longer counts as silent
        std::chrono::milliseconds quick{2'000};            // what the node has in memory
        std::chrono::milliseconds timeout{10'000};         // of everything else
    };
    explicit HttpNodeClient(const Options& options);

    HeartbeatReply heartbeat(const NodeRecord& node, const LeaseBook::Heartbeat& heartbeat) override;
    nlohmann::json status(const NodeRecord& node) override;
    nlohmann::json region(const NodeRecord& node, const std::string& name) override;
    nlohmann::json create_region(const NodeRecord& node, const RegionRecord& region) override;
    void delete_region(const NodeRecord& node, const std::string& name, uint64_t epoch) override;
    IssuedGrant grant(const NodeRecord& node, const std::string& region, const std::string& role,
                      uint64_t ttl_s) override;
    std::optional<bool> has_store(const NodeRecord& node, const std::string& region) override;
    void order_rebuild(const NodeRecord& target, const RebuildOrder& order) override;
    std::optional<RebuildStatus> rebuild(const NodeRecord& target, const std::string& region) override;
    void drop_rebuild(const NodeRecord& target, const std::string& region, uint64_t epoch) override;
    Probe probe(const NodeRecord& by, const NodeRecord& source, const std::string& grant) override;
    std::pair<unsigned, nlohmann::json> call(const NodeRecord& node, const std::string& method,
                                             const std::string& target, const nlohmann::json& body) override;

  private:
    std::pair<unsigned, nlohmann::json> ask(const NodeRecord& node, const std::string& method,
                                            const std::string& target, const nlohmann::json& body,
                                            std::chrono::milliseconds timeout) const;
    // The body of an answer that says yes.
    nlohmann::json need(const NodeRecord& node, const std::string& method, const std::string& target,
                        const nlohmann::json& body, std::chrono::milliseconds timeout) const;

    const Options options_;
    std::shared_ptr<const http::Tls> tls_;
};

}  // namespace lagan::cluster
