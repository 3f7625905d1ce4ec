// SPDX-License-Identifier: BSD-3-Clause
// REJ and MRA, which either side may send.
#include <algorithm>
#include <boost/endian/conversion.hpp>

#include "datapath/cm/connection_manager.h"
#include "datapath/cm/timeouts.h"

namespace lagan::cm {

void ConnectionManager::reject(const net::Path& path, uint64_t transaction, roce::CmReject rej,
                               std::atomic<uint64_t>& counter, std::span<const uint8_t> data) {
    std::copy_n(data.begin(), std::min(data.size(), rej.private_data.size()), rej.private_data.begin());
    count(counter);
    send(path, roce::encode_cm_mad({transaction, rej}));
}

// Which connection a REJ is about. A refused REQ has no id of the peer's yet; a peer that gives its own REQ
// up knows none of ours, and gives its GUID instead.
Connection* ConnectionManager::find_rejected(const Incoming& from, const roce::CmReject& rej) {
    if (rej.reason == RejectReason::timeout && rej.remote_comm_id == 0 &&
        rej.info_bytes >= sizeof(uint64_t)) {
        const uint64_t guid = boost::endian::load_big_u64(rej.info.data());
        return table_.find_peer_id(from.path.remote_ip, guid, rej.local_comm_id);
    }
    Connection* connection = table_.find(rej.remote_comm_id);
    if (connection == nullptr) return nullptr;
    if (connection->attributes.path.remote_ip != from.path.remote_ip) {
        count(counters_.wrong_source);
        return nullptr;
    }
    const bool known_pair = connection->remote_id == rej.local_comm_id;
    return connection->state == State::req_sent || known_pair ? connection : nullptr;
}

void ConnectionManager::handle(const Incoming& from, const roce::CmReject& rej) {
    count(counters_.rej_received);
    Connection* connection = find_rejected(from, rej);
    if (connection == nullptr) return count(counters_.mad_unexpected);
    switch (connection->state) {
        case State::req_sent:
            return abandon(
                *connection,
                {.status = ConnectStatus::rejected, .reason = rej.reason, .private_data = rej.private_data});
        case State::rep_sent:
        case State::established:  // the peer has restarted, or gave up before our first packet came
            enter_time_wait(*connection);
            return stop_qp(*connection, DisconnectReason::peer_reject);
        case State::dreq_sent:
            return enter_time_wait(*connection);
        case State::time_wait:
            return;
    }
}

void ConnectionManager::handle(const Incoming& from, const roce::CmReceiptAck& mra) {
    count(counters_.mra_received);
    Connection* connection = table_.find(mra.remote_comm_id);
    const bool waiting = connection != nullptr &&
                         ((connection->state == State::req_sent && mra.subject == roce::CmSubject::request) ||
                          (connection->state == State::rep_sent && mra.subject == roce::CmSubject::reply &&
                           connection->remote_id == mra.local_comm_id));
    if (!waiting) return count(counters_.mad_unexpected);
    if (connection->attributes.path.remote_ip != from.path.remote_ip) return count(counters_.wrong_source);
    if (connection->extensions_left == 0) return;  // nobody may make us wait for ever
    --connection->extensions_left;
    uint64_t deadline_us = now_us_ + extension_us(mra.service_timeout) + connection->interval_us;
    if (connection->state == State::rep_sent) deadline_us = std::min(deadline_us, connection->confirm_by_us);
    table_.set_deadline(*connection, deadline_us);
}

}  // namespace lagan::cm
