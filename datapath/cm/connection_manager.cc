// SPDX-License-Identifier: BSD-3-Clause
// What passive and active side share: datagrams in and out, timers, and the steps every connection goes
// through.
#include "datapath/cm/connection_manager.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "datapath/cm/datagram.h"
#include "datapath/cm/timeouts.h"
#include "datapath/roce/psn.h"

namespace lagan::cm {

namespace {

uint64_t seed_of(const CmOptions& options) {
    if (options.seed != 0) return options.seed;
    std::random_device device;
    return (uint64_t{device()} << 32) | device();
}

}  // namespace

ConnectionManager::ConnectionManager(net::PacketIo& io, const std::vector<net::PortConfig>& ports,
                                     QpProvider& provider, const CmOptions& options, net::LogSink log)
    : io_(io),
      ports_(ports),
      provider_(provider),
      options_(options),
      log_(std::move(log)),
      random_(seed_of(options)),
      guid_(random_() | 1),  // never 0
      next_transaction_(random_()),
      table_(static_cast<uint32_t>(random_())) {}

ConnectionManager::~ConnectionManager() {
    table_.for_each([this](Connection& connection) {
        if (connection.has_qp) provider_.destroy(connection.attributes.qpn);
        if (!connection.had_qp) provider_.release_qpn(connection.attributes.qpn);
    });
}

void ConnectionManager::listen(uint16_t service_port, AcceptHandler handler) {
    listeners_[service_port] = std::move(handler);
}

void ConnectionManager::stop_listening(uint16_t service_port) {
    listeners_.erase(service_port);
}

void ConnectionManager::on_datagram(const net::PortConfig& port, std::span<const uint8_t> frame,
                                    const roce::Packet& packet, uint64_t now_us) {
    now_us_ = std::max(now_us_, now_us);
    net::Path path;
    switch (check_datagram(port, frame, packet, path)) {
        case DatagramError::none:
            break;
        case DatagramError::not_for_us:
            return count(counters_.datagram_not_for_us);
        case DatagramError::bad_source:
            return count(counters_.datagram_bad_source);
        case DatagramError::not_ud:
            return count(counters_.datagram_not_ud);
        case DatagramError::qkey:
            return count(counters_.datagram_qkey);
        case DatagramError::icrc:
            return count(counters_.datagram_icrc);
    }
    const auto message = roce::decode_cm_mad({packet.payload, packet.payload_bytes});
    if (!message) return count(counters_.mad_malformed);
    const Incoming from{port, path, message->transaction_id};
    std::visit([&](const auto& body) { handle(from, body); }, message->body);
}

void ConnectionManager::tick(uint64_t now_us) {
    now_us_ = std::max(now_us_, now_us);
    while (Connection* due = table_.take_due(now_us_))
        unanswered(*due);
    answer_late();
}

std::vector<ConnectionInfo> ConnectionManager::list() const {
    std::vector<ConnectionInfo> all;
    table_.for_each([&](const Connection& connection) {
        const QpAttributes& qp = connection.attributes;
        if (connection.state == State::time_wait || connection.state == State::dreq_sent) return;
        all.push_back({qp.qpn, qp.dest_qpn, qp.path.remote_ip, qp.region_id, qp.role,
                       connection.state == State::established, connection.active});
    });
    return all;
}

void ConnectionManager::send(const net::Path& path, const roce::Mad& mad) {
    rte_mbuf* frame = io_.allocate();
    if (frame == nullptr || !build_datagram(*frame, path, next_psn_, mad)) {
        rte_pktmbuf_free(frame);
        return count(counters_.no_mbuf);
    }
    next_psn_ = roce::psn_add(next_psn_, 1);
    io_.transmit(path.port_id, frame);
}

// Sends now, and `tries` times more while nothing ends the wait.
void ConnectionManager::send_repeatedly(Connection& connection, const roce::CmMessage& message,
                                        uint32_t tries, uint64_t interval_us) {
    connection.message = roce::encode_cm_mad(message);
    connection.interval_us = interval_us;
    connection.tries_left = tries;
    connection.extensions_left = kMaxExtensions;
    resend(connection);
}

void ConnectionManager::resend(Connection& connection) {
    switch (connection.state) {
        case State::req_sent:
            count(counters_.req_sent);
            break;
        case State::rep_sent:
            count(counters_.rep_sent);
            break;
        case State::dreq_sent:
            count(counters_.dreq_sent);
            break;
        case State::established:
        case State::time_wait:
            return;  // they wait for nothing
    }
    send(connection.attributes.path, connection.message);
    table_.set_deadline(connection, now_us_ + connection.interval_us);
}

// The connection's timer has run out. It may be gone afterwards.
void ConnectionManager::unanswered(Connection& connection) {
    if (connection.state == State::time_wait) return forget(connection);
    if (connection.state == State::rep_sent && provider_.has_received(connection.attributes.qpn)) {
        count(counters_.rtu_implied);
        return establish(connection);
    }
    const bool late = connection.state == State::rep_sent && now_us_ >= connection.confirm_by_us;
    if (connection.tries_left > 0 && !late) {
        --connection.tries_left;
        return resend(connection);
    }
    if (connection.state == State::req_sent) return req_unanswered(connection);
    if (connection.state == State::rep_sent) return rep_unanswered(connection);
    count(counters_.disconnect_timeout);
    enter_time_wait(connection);
}

// The connection that both ids and the sender's address name, or null, counted.
Connection* ConnectionManager::find_pair(const Incoming& from, uint32_t local_id, uint32_t remote_id) {
    Connection* connection = table_.find(local_id);
    if (connection == nullptr || connection->remote_id != remote_id || connection->state == State::req_sent) {
        count(counters_.mad_unexpected);
        return nullptr;
    }
    if (connection->attributes.path.remote_ip != from.path.remote_ip) {
        count(counters_.wrong_source);
        return nullptr;
    }
    return connection;
}

void ConnectionManager::establish(Connection& connection) {
    table_.set_state(connection, State::established);
    table_.set_deadline(connection, 0);
    count(counters_.established);
    log(net::LogLevel::info, connection, "established");
    if (on_established_) on_established_(connection.attributes);
}

void ConnectionManager::enter_time_wait(Connection& connection) {
    table_.set_state(connection, State::time_wait);
    table_.set_deadline(connection, now_us_ + std::max<uint64_t>(options_.time_wait_us, 1));
    if (const auto done = std::exchange(connection.disconnected, {})) done();
}

// Last in every caller: the handler may change this connection and others.
void ConnectionManager::stop_qp(Connection& connection, DisconnectReason why) {
    if (!std::exchange(connection.has_qp, false)) return;
    const uint32_t qpn = connection.attributes.qpn;
    provider_.destroy(qpn);
    count(counters_.disconnected);
    log(net::LogLevel::info, connection, to_string(why));
    if (on_disconnected_) on_disconnected_(qpn, why);
}

// Like rxe's: constant per queue pair and different between them, so that receive-side scaling spreads them.
uint16_t ConnectionManager::udp_source_port(uint32_t qpn) {
    return static_cast<uint16_t>(0xc000U | (((qpn * 2654435761U) >> 18) & 0x3fffU));
}

void ConnectionManager::forget(Connection& connection) {
    if (!connection.had_qp) provider_.release_qpn(connection.attributes.qpn);
    table_.remove(connection);
}

void ConnectionManager::log(net::LogLevel level, const Connection& connection,
                            const std::string& what) const {
    if (!log_) return;
    const QpAttributes& qp = connection.attributes;
    log_(level, "connection QPN " + std::to_string(qp.qpn) + (connection.active ? " to " : " from ") +
                    qp.path.remote_ip.to_string() + " QPN " + std::to_string(qp.dest_qpn) + ": " + what);
}

}  // namespace lagan::cm
