// SPDX-License-Identifier: BSD-3-Clause
// The end of a connection: DREQ and DREP, by either side or by both at once.
#include <utility>

#include "datapath/cm/connection_manager.h"
#include "datapath/cm/timeouts.h"

namespace lagan::cm {

bool ConnectionManager::disconnect(uint32_t qpn, std::function<void()> done) {
    Connection* connection = table_.find_qpn(qpn);
    if (connection == nullptr) return false;
    if (connection->state == State::req_sent) {
        give_up(*connection);
        abandon(*connection, {.status = ConnectStatus::closed});
        if (done) done();
        return true;
    }
    if (connection->state == State::dreq_sent || connection->state == State::time_wait) return false;
    connection->disconnected = std::move(done);
    start_disconnect(*connection);
    stop_qp(*connection, DisconnectReason::local);
    return true;
}

void ConnectionManager::close_all() {
    std::vector<uint32_t> numbers;
    table_.for_each([&](const Connection& connection) { numbers.push_back(connection.attributes.qpn); });
    for (const uint32_t qpn : numbers)
        close(qpn);
}

void ConnectionManager::start_disconnect(Connection& connection) {
    const roce::CmDisconnectRequest dreq{.local_comm_id = connection.local_id,
                                         .remote_comm_id = connection.remote_id,
                                         .remote_qpn = connection.attributes.dest_qpn};
    table_.set_state(connection, State::dreq_sent);
    send_repeatedly(connection, {next_transaction_++, dreq}, options_.disconnect_retries,
                    timeout_us(options_.response_timeout));
}

void ConnectionManager::handle(const Incoming& from, const roce::CmDisconnectRequest& dreq) {
    count(counters_.dreq_received);
    const auto answer = [&] {
        const roce::CmDisconnectReply drep{.local_comm_id = dreq.remote_comm_id,
                                           .remote_comm_id = dreq.local_comm_id};
        count(counters_.drep_sent);
        send(from.path, roce::encode_cm_mad({from.transaction, drep}));
    };
    Connection* connection = table_.find(dreq.remote_comm_id);
    if (connection == nullptr || connection->remote_id != dreq.local_comm_id || connection->remote_id == 0) {
        count(counters_.dreq_unknown);
        return answer();  // a peer that outlived our connection would ask again for ever
    }
    if (connection->attributes.path.remote_ip != from.path.remote_ip) return count(counters_.wrong_source);
    if (connection->attributes.qpn != dreq.remote_qpn) return count(counters_.dreq_wrong_qpn);
    answer();
    if (connection->state == State::time_wait) return;  // our DREP was lost
    enter_time_wait(
        *connection);  // also when our own DREQ is on its way: theirs proves that they have let go
    stop_qp(*connection, DisconnectReason::peer);
}

void ConnectionManager::handle(const Incoming& from, const roce::CmDisconnectReply& drep) {
    count(counters_.drep_received);
    Connection* connection = find_pair(from, drep.remote_comm_id, drep.local_comm_id);
    if (connection != nullptr && connection->state == State::dreq_sent) enter_time_wait(*connection);
}

}  // namespace lagan::cm
