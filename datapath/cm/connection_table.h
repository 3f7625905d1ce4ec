// SPDX-License-Identifier: BSD-3-Clause
// All connections with the indexes, timers and counts that the manager needs. Control thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "datapath/cm/connection.h"

namespace lagan::cm {

class ConnectionTable {
  public:
    // `first_id` is where local communication ids begin; they count up from there and skip 0 and those in
    // use.
    explicit ConnectionTable(uint32_t first_id) : next_id_(first_id) {}

    // A new connection whose attributes.path and attributes.qpn are those given. References stay valid until
    // remove().
    Connection& add(State state, const QpAttributes& attributes);
    void remove(Connection& connection);

    // Call once remote_id, remote_guid and attributes.dest_qpn are known.
    void index_peer(Connection& connection);

    Connection* find(uint32_t local_id) const;
    Connection* find_qpn(uint32_t local_qpn) const;
    // The peer's communication id and queue pair number mean nothing without its GUID. The address is part of
    // the key as well, so that nobody can reach a connection by naming somebody else's GUID.
    Connection* find_peer_id(const net::IpAddress& ip, uint64_t guid, uint32_t remote_id) const;
    Connection* find_peer_qpn(const net::IpAddress& ip, uint64_t guid, uint32_t remote_qpn) const;

    void set_state(Connection& connection, State state);

    // One timer a connection; 0 stops it.
    void set_deadline(Connection& connection, uint64_t deadline_us);
    // The connection whose timer ran out first, its timer stopped; null when none has.
    Connection* take_due(uint64_t now_us);

    size_t size() const { return by_id_.size(); }
    size_t half_open() const { return half_open_; }  // in rep_sent
    size_t half_open_from(const net::IpAddress& ip) const;

    // visit(Connection&). Adding and removing meanwhile is not allowed.
    template <typename Visitor>
    void for_each(Visitor&& visit) const {
        for (const auto& [id, connection] : by_id_)
            visit(*connection);
    }

  private:
    using PeerKey = std::tuple<net::IpAddress, uint64_t, uint32_t>;

    PeerKey peer_id_key(const Connection& connection) const;
    PeerKey peer_qpn_key(const Connection& connection) const;
    void count_half_open(const Connection& connection, int change);

    uint32_t next_id_;
    std::unordered_map<uint32_t, std::unique_ptr<Connection>> by_id_;
    std::unordered_map<uint32_t, Connection*> by_qpn_;
    std::map<PeerKey, Connection*> by_peer_id_;
    std::map<PeerKey, Connection*> by_peer_qpn_;
    std::set<std::pair<uint64_t, uint32_t>> timers_;  // deadline, local id
    std::map<net::IpAddress, size_t> half_open_by_source_;
    size_t half_open_ = 0;
};

}  // namespace lagan::cm
