// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/cm/connection_table.h"

namespace lagan::cm {

namespace {

template <typename Map, typename Key>
Connection* lookup(const Map& map, const Key& key) {
    const auto found = map.find(key);
    return found == map.end() ? nullptr : &*found->second;
}

// Two peers may claim the same key; the first one has it, and only that one may take it away.
template <typename Map, typename Key>
void erase_if_owner(Map& map, const Key& key, const Connection& connection) {
    const auto found = map.find(key);
    if (found != map.end() && found->second == &connection) map.erase(found);
}

}  // namespace

Connection& ConnectionTable::add(State state, const QpAttributes& attributes) {
    while (next_id_ == 0 || by_id_.contains(next_id_))
        ++next_id_;
    auto connection = std::make_unique<Connection>();
    connection->local_id = next_id_++;
    connection->state = state;
    connection->attributes = attributes;
    Connection& added = *connection;
    by_qpn_.emplace(attributes.qpn, &added);
    by_id_.emplace(added.local_id, std::move(connection));
    if (state == State::rep_sent) count_half_open(added, 1);
    return added;
}

void ConnectionTable::remove(Connection& connection) {
    set_deadline(connection, 0);
    if (connection.state == State::rep_sent) count_half_open(connection, -1);
    erase_if_owner(by_qpn_, connection.attributes.qpn, connection);
    erase_if_owner(by_peer_id_, peer_id_key(connection), connection);
    erase_if_owner(by_peer_qpn_, peer_qpn_key(connection), connection);
    by_id_.erase(connection.local_id);
}

void ConnectionTable::index_peer(Connection& connection) {
    by_peer_id_.emplace(peer_id_key(connection), &connection);
    by_peer_qpn_.emplace(peer_qpn_key(connection), &connection);
}

Connection* ConnectionTable::find(uint32_t local_id) const {
    return lookup(by_id_, local_id);
}

Connection* ConnectionTable::find_qpn(uint32_t local_qpn) const {
    return lookup(by_qpn_, local_qpn);
}

Connection* ConnectionTable::find_peer_id(const net::IpAddress& ip, uint64_t guid, uint32_t remote_id) const {
    return lookup(by_peer_id_, PeerKey{ip, guid, remote_id});
}

Connection* ConnectionTable::find_peer_qpn(const net::IpAddress& ip, uint64_t guid,
                                           uint32_t remote_qpn) const {
    return lookup(by_peer_qpn_, PeerKey{ip, guid, remote_qpn});
}

void ConnectionTable::set_state(Connection& connection, State state) {
    if (connection.state == State::rep_sent) count_half_open(connection, -1);
    connection.state = state;
    if (state == State::rep_sent) count_half_open(connection, 1);
}

void ConnectionTable::set_deadline(Connection& connection, uint64_t deadline_us) {
    if (connection.deadline_us != 0) timers_.erase({connection.deadline_us, connection.local_id});
    connection.deadline_us = deadline_us;
    if (deadline_us != 0) timers_.emplace(deadline_us, connection.local_id);
}

Connection* ConnectionTable::take_due(uint64_t now_us) {
    if (timers_.empty() || timers_.begin()->first > now_us) return nullptr;
    Connection* due = find(timers_.begin()->second);
    set_deadline(*due, 0);
    return due;
}

size_t ConnectionTable::half_open_from(const net::IpAddress& ip) const {
    const auto found = half_open_by_source_.find(ip);
    return found == half_open_by_source_.end() ? 0 : found->second;
}

ConnectionTable::PeerKey ConnectionTable::peer_id_key(const Connection& connection) const {
    return {connection.attributes.path.remote_ip, connection.remote_guid, connection.remote_id};
}

ConnectionTable::PeerKey ConnectionTable::peer_qpn_key(const Connection& connection) const {
    return {connection.attributes.path.remote_ip, connection.remote_guid, connection.attributes.dest_qpn};
}

void ConnectionTable::count_half_open(const Connection& connection, int change) {
    const auto entry = half_open_by_source_.try_emplace(connection.attributes.path.remote_ip, 0).first;
    entry->second += static_cast<size_t>(change);
    half_open_ += static_cast<size_t>(change);
    if (entry->second == 0) half_open_by_source_.erase(entry);
}

}  // namespace lagan::cm
