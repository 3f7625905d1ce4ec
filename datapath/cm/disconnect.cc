// SPDX-License-Identifier: BSD-3-Clause
// The end of a connection: DREQ and DREP, by either side or by both at once.
#include <algorithm>
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
    Connection* connection = table_.find(dreq.remote_comm_id);
    if (connection == nullptr || connection->remote_id != dreq.local_comm_id || connection->remote_id == 0) {
        count(counters_.dreq_unknown);
        // A peer that outlived our connection would ask again for ever.
        return answer_when_gone(from, dreq);
    }
    if (connection->attributes.path.remote_ip != from.path.remote_ip) return count(counters_.wrong_source);
    if (connection->attributes.qpn != dreq.remote_qpn) return count(counters_.dreq_wrong_qpn);
    if (connection->state != State::time_wait) {  // else our DREP was lost
        // Also when our own DREQ is on its way: theirs proves that they have let go.
        enter_time_wait(*connection);
        stop_qp(*connection, DisconnectReason::peer);
    }
    answer_when_gone(from, dreq);
}

// A client that connects again repeats what was not acknowledged as soon as it has the DREP. Nothing of the
// old queue pair may be carried out behind that, a half-done FREE for instance.
void ConnectionManager::answer_when_gone(const Incoming& from, const roce::CmDisconnectRequest& dreq) {
    const roce::CmDisconnectReply drep{.local_comm_id = dreq.remote_comm_id,
                                       .remote_comm_id = dreq.local_comm_id};
    const roce::Mad mad = roce::encode_cm_mad({from.transaction, drep});
    if (provider_.is_gone(dreq.remote_qpn)) {
        count(counters_.drep_sent);
        return send(from.path, mad);
    }
    // One is enough for a queue pair: whoever asks again is answered with it.
    const bool waits = std::any_of(late_answers_.begin(), late_answers_.end(),
                                   [&](const LateAnswer& late) { return late.qpn == dreq.remote_qpn; });
    if (!waits) late_answers_.push_back({from.path, mad, dreq.remote_qpn});
}

void ConnectionManager::answer_late() {
    std::erase_if(late_answers_, [this](const LateAnswer& late) {
        if (!provider_.is_gone(late.qpn)) return false;
        count(counters_.drep_sent);
        send(late.path, late.drep);
        return true;
    });
}

void ConnectionManager::handle(const Incoming& from, const roce::CmDisconnectReply& drep) {
    count(counters_.drep_received);
    Connection* connection = find_pair(from, drep.remote_comm_id, drep.local_comm_id);
    if (connection != nullptr && connection->state == State::dreq_sent) enter_time_wait(*connection);
}

}  // namespace lagan::cm
