// SPDX-License-Identifier: BSD-3-Clause
// The side that is connected to: REQ and RTU.
#include <algorithm>

#include "datapath/cm/connection_manager.h"
#include "datapath/cm/timeouts.h"

namespace lagan::cm {

namespace {

constexpr uint8_t kTargetAckDelay = 12;  // 17 ms: a poll lcore that shares its core may be late
constexpr uint8_t kReliableConnected = 0;
constexpr uint16_t kPkeyMask = 0x7fff;  // the upper bit is the kind of membership
constexpr uint32_t kMulticastQpn = 0xffffff;

}  // namespace

void ConnectionManager::handle(const Incoming& from, const roce::CmRequest& req) {
    count(counters_.req_received);
    if (req.local_comm_id == 0 || req.local_qpn <= roce::kGsiQpn || req.local_qpn == kMulticastQpn) {
        return count(counters_.mad_malformed);
    }
    if (repeated(from, req)) return;
    roce::CmReject rej{.remote_comm_id = req.local_comm_id, .subject = roce::CmSubject::request};
    if (const auto refused = refusal(from, req)) {
        rej.reason = refused->reason;
        return reject(from.path, from.transaction, rej, refused->counter);
    }
    const uint16_t service_port = *roce::port_of_service_id(req.service_id);
    const ConnectRequest request{
        .path = from.path,
        .service_port = service_port,
        .source_port = roce::decode_ip_cm_header(req.private_data)->source_port,
        .remote_qpn = req.local_qpn,
        .remote_guid = req.ca_guid,
        .private_data = std::span(req.private_data).subspan(roce::kIpCmHeaderBytes),
        .responder_resources = req.responder_resources,
        .initiator_depth = req.initiator_depth,
        .mtu_bytes = *roce::mtu_bytes_of_code(req.path_mtu_code),
        .retry_count = req.retry_count,
        .rnr_retry = req.rnr_retry,
    };
    const AcceptHandler handler = listeners_.at(service_port);  // a copy: it may stop listening
    const AcceptDecision decision = handler(request);
    if (!decision.accepted) {
        rej.reason = decision.reason;
        return reject(from.path, from.transaction, rej, counters_.rej_sent_consumer, decision.private_data);
    }
    accept(from, req, request, decision);
}

// The same REQ again: its REP was lost or is late.
bool ConnectionManager::repeated(const Incoming& from, const roce::CmRequest& req) {
    Connection* known = table_.find_peer_id(from.path.remote_ip, req.ca_guid, req.local_comm_id);
    if (known == nullptr || known->active || known->attributes.dest_qpn != req.local_qpn ||
        known->attributes.send_psn != req.starting_psn) {
        return false;
    }
    count(counters_.req_duplicate);
    if (known->state == State::rep_sent) resend(*known);
    return true;
}

std::optional<ConnectionManager::Refusal> ConnectionManager::refusal(const Incoming& from,
                                                                     const roce::CmRequest& req) {
    using Reason = RejectReason;
    if (req.transport_service != kReliableConnected || req.extended_transport != 0) {
        return Refusal{Reason::invalid_transport_type, counters_.rej_sent_invalid_transport_type};
    }
    const auto service_port = roce::port_of_service_id(req.service_id);
    if (!service_port || !listeners_.contains(*service_port)) {
        return Refusal{Reason::invalid_service_id, counters_.rej_sent_invalid_service_id};
    }
    if (!roce::decode_ip_cm_header(req.private_data) ||
        (req.pkey & kPkeyMask) != (roce::kDefaultPkey & kPkeyMask)) {
        return Refusal{Reason::unsupported, counters_.rej_sent_unsupported};
    }
    if (req.primary.local_gid != from.path.remote_ip || req.primary.remote_gid != from.path.local_ip) {
        return Refusal{Reason::invalid_gid, counters_.rej_sent_invalid_gid};
    }
    // The REP has no field for a smaller MTU: the peer must ask again.
    const auto mtu = roce::mtu_bytes_of_code(req.path_mtu_code);
    if (!mtu || *mtu > largest_path_mtu(from.port.mtu)) {
        return Refusal{Reason::invalid_mtu, counters_.rej_sent_invalid_mtu};
    }
    if (std::atomic<uint64_t>* limit = reached_limit(from.path.remote_ip)) {
        count(*limit);
        return Refusal{Reason::no_resources, counters_.rej_sent_no_resources};
    }
    return std::nullopt;
}

// The counter of the limit that one connection more from `source` would break; null when there is room.
std::atomic<uint64_t>* ConnectionManager::reached_limit(const net::IpAddress& source) {
    if (table_.size() >= options_.max_connections) return &counters_.limit_connections;
    if (table_.half_open() >= options_.max_half_open) return &counters_.limit_half_open;
    if (table_.half_open_from(source) >= options_.max_half_open_per_source)
        return &counters_.limit_half_open_source;
    return nullptr;
}

// The peer has forgotten a connection that we still have from its queue pair, and may come again once that is
// over.
void ConnectionManager::refuse_stale(const Incoming& from, const roce::CmRequest& req, Connection& old) {
    reject(from.path, from.transaction,
           {.remote_comm_id = req.local_comm_id, .reason = RejectReason::stale_connection},
           counters_.rej_sent_stale_connection);
    if (old.state != State::established && old.state != State::rep_sent) return;
    count(counters_.stale_connection);
    start_disconnect(old);
    stop_qp(old, DisconnectReason::stale);
}

void ConnectionManager::accept(const Incoming& from, const roce::CmRequest& req,
                               const ConnectRequest& request, const AcceptDecision& decision) {
    // Only a request that may connect can end another connection, so this comes after the service's decision.
    const net::IpAddress& source = from.path.remote_ip;
    Connection* old = table_.find_peer_qpn(source, req.ca_guid, req.local_qpn);
    if (old == nullptr) old = table_.find_peer_id(source, req.ca_guid, req.local_comm_id);
    if (old != nullptr) return refuse_stale(from, req, *old);

    QpAttributes qp{
        .path = from.path,
        .qpn = provider_.allocate_qpn(),
        .dest_qpn = req.local_qpn,
        .receive_psn = random_psn(),
        .send_psn = req.starting_psn,  // each side names the PSN with which the other shall begin
        .mtu_bytes = request.mtu_bytes,
        .responder_resources = std::min(req.initiator_depth, decision.max_responder_resources),
        .initiator_depth = std::min(req.responder_resources, decision.max_initiator_depth),
        .ack_timeout = options_.ack_timeout,
        .retry_count = req.retry_count,
        .rnr_retry = req.rnr_retry,
        .rnr_timer = options_.rnr_timer,
        .region_id = decision.region_id,
        .data_rkey = decision.data_rkey,
        .role = decision.role,
    };
    qp.path.udp_source_port = udp_source_port(qp.qpn);
    if (qp.qpn == 0 || !provider_.create(qp, decision.engine)) {
        if (qp.qpn != 0) provider_.release_qpn(qp.qpn);
        return reject(from.path, from.transaction,
                      {.remote_comm_id = req.local_comm_id, .reason = RejectReason::no_resources},
                      counters_.rej_sent_no_resources);
    }
    Connection& connection = table_.add(State::rep_sent, qp);
    connection.has_qp = connection.had_qp = true;
    connection.remote_id = req.local_comm_id;
    connection.remote_guid = req.ca_guid;
    table_.index_peer(connection);
    roce::CmReply rep{
        .local_comm_id = connection.local_id,
        .remote_comm_id = connection.remote_id,
        .local_qpn = qp.qpn,
        .starting_psn = qp.receive_psn,
        .responder_resources = qp.responder_resources,
        .initiator_depth = qp.initiator_depth,
        .target_ack_delay = kTargetAckDelay,
        .ca_guid = guid_,
    };
    std::copy_n(decision.private_data.begin(),
                std::min(decision.private_data.size(), rep.private_data.size()), rep.private_data.begin());
    connection.confirm_by_us = now_us_ + options_.max_half_open_us;
    count(counters_.accepted);
    send_repeatedly(connection, {from.transaction, rep}, req.max_cm_retries,
                    peer_timeout_us(req.local_cm_response_timeout));
}

void ConnectionManager::handle(const Incoming& from, const roce::CmReadyToUse& rtu) {
    count(counters_.rtu_received);
    Connection* connection = find_pair(from, rtu.remote_comm_id, rtu.local_comm_id);
    if (connection == nullptr) return;
    // Otherwise the first packet or an earlier copy came before it, or it is over.
    if (connection->state == State::rep_sent) establish(*connection);
}

void ConnectionManager::rep_unanswered(Connection& connection) {
    count(counters_.rtu_timeout);
    reject(connection.attributes.path, next_transaction_++,
           {.local_comm_id = connection.local_id,
            .remote_comm_id = connection.remote_id,
            .subject = roce::CmSubject::reply,
            .reason = RejectReason::timeout},
           counters_.rej_sent_timeout);
    enter_time_wait(connection);
    stop_qp(connection, DisconnectReason::no_rtu);
}

}  // namespace lagan::cm
