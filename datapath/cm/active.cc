// SPDX-License-Identifier: BSD-3-Clause
// The side that connects: REQ out, REP in, RTU out.
#include <algorithm>
#include <boost/endian/conversion.hpp>
#include <utility>

#include "datapath/cm/connection_manager.h"
#include "datapath/cm/timeouts.h"

namespace lagan::cm {

namespace {

// Without a port space of our own to manage: the QPN tells our connections apart just as well.
uint16_t ephemeral_port(uint32_t qpn) {
    return static_cast<uint16_t>(0xc000U | (qpn & 0x3fffU));
}

roce::CmRequest make_request(const ConnectParams& params, const QpAttributes& qp, uint64_t guid) {
    roce::CmRequest req{
        .service_id = roce::service_id_of_port(params.service_port),
        .ca_guid = guid,
        .local_qpn = qp.qpn,
        .responder_resources = params.responder_resources,
        .initiator_depth = params.initiator_depth,
        .remote_cm_response_timeout = params.response_timeout,
        .starting_psn = qp.receive_psn,  // each side names the PSN with which the other shall begin
        .local_cm_response_timeout = params.response_timeout,
        .retry_count = params.retry_count,
        .path_mtu_code = *roce::mtu_code_of_bytes(params.mtu_bytes),
        .rnr_retry = params.rnr_retry,
        .max_cm_retries = params.max_retries,
    };
    req.primary.local_gid = qp.path.local_ip;
    req.primary.remote_gid = qp.path.remote_ip;
    req.primary.local_ack_timeout = params.ack_timeout;
    const auto header =
        roce::encode_ip_cm_header({ephemeral_port(qp.qpn), qp.path.local_ip, qp.path.remote_ip});
    const auto behind = std::copy(header.begin(), header.end(), req.private_data.begin());
    std::copy(params.private_data.begin(), params.private_data.end(), behind);
    return req;
}

}  // namespace

uint32_t ConnectionManager::connect(const ConnectParams& params, ConnectCallback callback) {
    validate(params, ports_);
    QpAttributes qp{
        .path = params.path,
        .qpn = provider_.allocate_qpn(),
        .receive_psn = random_psn(),
        .mtu_bytes = params.mtu_bytes,
        .responder_resources = params.responder_resources,
        .initiator_depth = params.initiator_depth,
        .ack_timeout = params.ack_timeout,
        .retry_count = params.retry_count,
        .rnr_retry = params.rnr_retry,
        .rnr_timer = options_.rnr_timer,
        .region_id = params.region_id,
        .role = params.role,
    };
    if (qp.qpn == 0) return 0;
    qp.path.udp_source_port = udp_source_port(qp.qpn);
    Connection& connection = table_.add(State::req_sent, qp);
    connection.active = true;
    connection.engine = params.engine;
    connection.connected = std::move(callback);
    roce::CmRequest req = make_request(params, qp, guid_);
    req.local_comm_id = connection.local_id;
    send_repeatedly(connection, {next_transaction_++, req}, params.max_retries,
                    timeout_us(params.response_timeout));
    return qp.qpn;
}

void ConnectionManager::handle(const Incoming& from, const roce::CmReply& rep) {
    count(counters_.rep_received);
    Connection* connection = table_.find(rep.remote_comm_id);
    if (connection == nullptr || !connection->active) {
        // Half a connection is waiting there for an RTU that nobody will send.
        return reject(from.path, from.transaction,
                      {.local_comm_id = rep.remote_comm_id,
                       .remote_comm_id = rep.local_comm_id,
                       .subject = roce::CmSubject::reply,
                       .reason = RejectReason::invalid_comm_id},
                      counters_.rej_sent_invalid_comm_id);
    }
    if (connection->attributes.path.remote_ip != from.path.remote_ip) return count(counters_.wrong_source);
    if (connection->state == State::req_sent) {
        if (rep.local_comm_id == 0 || rep.local_qpn <= roce::kGsiQpn) return count(counters_.mad_malformed);
        return establish_active(*connection, from, rep);
    }
    if (connection->state == State::established && connection->remote_id == rep.local_comm_id) {
        return send_rtu(*connection, from.transaction);  // the first one was lost
    }
    count(counters_.mad_unexpected);
}

void ConnectionManager::establish_active(Connection& connection, const Incoming& from,
                                         const roce::CmReply& rep) {
    QpAttributes& qp = connection.attributes;
    connection.remote_id = rep.local_comm_id;
    connection.remote_guid = rep.ca_guid;
    qp.dest_qpn = rep.local_qpn;
    qp.send_psn = rep.starting_psn;
    qp.rnr_retry = rep.rnr_retry;
    // The peer may have lowered both, and must not have raised them.
    qp.initiator_depth = std::min(qp.initiator_depth, rep.responder_resources);
    qp.responder_resources = std::min(qp.responder_resources, rep.initiator_depth);
    if (!provider_.create(qp, connection.engine)) {
        reject(from.path, from.transaction,
               {.local_comm_id = connection.local_id,
                .remote_comm_id = connection.remote_id,
                .subject = roce::CmSubject::reply,
                .reason = RejectReason::no_resources},
               counters_.rej_sent_no_resources);
        return abandon(connection, {.status = ConnectStatus::no_resources});
    }
    connection.has_qp = connection.had_qp = true;
    table_.index_peer(connection);
    send_rtu(connection, from.transaction);
    const ConnectCallback callback = std::exchange(connection.connected, {});
    const ConnectResult result{.status = ConnectStatus::established,
                               .qpn = qp.qpn,
                               .private_data = rep.private_data,
                               .attributes = qp};
    establish(connection);
    if (callback) callback(result);
}

void ConnectionManager::send_rtu(Connection& connection, uint64_t transaction) {
    const roce::CmReadyToUse rtu{.local_comm_id = connection.local_id,
                                 .remote_comm_id = connection.remote_id};
    count(counters_.rtu_sent);
    send(connection.attributes.path, roce::encode_cm_mad({transaction, rtu}));
}

void ConnectionManager::req_unanswered(Connection& connection) {
    count(counters_.connect_timeout);
    give_up(connection);
    abandon(connection, {.status = ConnectStatus::timeout});
}

// Tells the peer that the REQ is withdrawn. It may have answered, and knows no id of ours but by the REQ's:
// hence the GUID.
void ConnectionManager::give_up(Connection& connection) {
    roce::CmReject rej{.local_comm_id = connection.local_id,
                       .subject = roce::CmSubject::request,
                       .info_bytes = sizeof guid_,
                       .reason = RejectReason::timeout};
    boost::endian::store_big_u64(rej.info.data(), guid_);
    reject(connection.attributes.path, next_transaction_++, rej, counters_.rej_sent_timeout);
}

// The end of an attempt that never had a queue pair. The connection is gone when the callback runs.
void ConnectionManager::abandon(Connection& connection, const ConnectResult& result) {
    const ConnectCallback callback = std::exchange(connection.connected, {});
    forget(connection);
    if (callback) callback(result);
}

}  // namespace lagan::cm
