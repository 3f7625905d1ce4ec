// SPDX-License-Identifier: BSD-3-Clause
// The connection manager: RDMA CM over QP1, both sides. An rdma_cm peer connects to it, and is connected to,
// unchanged. Single-threaded. Callbacks run inside on_datagram(), tick(), disconnect() and close() and may
// call back into it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <span>
#include <vector>

#include "datapath/cm/connect_types.h"
#include "datapath/cm/connection_table.h"
#include "datapath/cm/counters.h"
#include "datapath/cm/qp_provider.h"
#include "datapath/net/log_sink.h"
#include "datapath/net/packet_io.h"
#include "datapath/net/port_config.h"
#include "datapath/roce/cm_mad.h"
#include "datapath/roce/decode.h"

namespace lagan::cm {

struct CmOptions {
    size_t max_connections = 4096;  // those that have ended and are in their wait state included
    size_t max_half_open = 1024;    // accepted and not confirmed
    size_t max_half_open_per_source = 256;
    uint64_t max_half_open_us = 30'000'000;  // of one connection; Linux's MRA alone asks for 69 s
    uint64_t time_wait_us = 1'000'000;       // for which a peer's QPN stays taken after its connection
    uint8_t ack_timeout = 14;                // of accepted queue pairs: 4.096 us × 2^n
    uint8_t rnr_timer = 12;                  // code in our RNR NAKs
    uint8_t response_timeout = 16;           // wait for a DREP: 4.096 us × 2^n (16: 268 ms)
    uint8_t disconnect_retries = 4;
    uint64_t seed = 0;  // of GUID, ids and PSNs; 0: from std::random_device
};

class ConnectionManager {
  public:
    // `io`, `ports` and `provider` outlive it. `log` gets a line for each connection that comes or goes.
    ConnectionManager(net::PacketIo& io, const std::vector<net::PortConfig>& ports, QpProvider& provider,
                      const CmOptions& options = {}, net::LogSink log = {});

    // Destroys the queue pairs. Sends nothing and calls nobody.
    ~ConnectionManager();
    ConnectionManager(const ConnectionManager&) = delete;
    ConnectionManager& operator=(const ConnectionManager&) = delete;

    // Passive side: requests for `service_port` go to the handler. An acceptance can still fall through for
    // want of a queue pair or of the peer's confirmation: keep nothing until on_established. Requests for
    // other ports are rejected.
    void listen(uint16_t service_port, AcceptHandler handler);
    void stop_listening(uint16_t service_port);

    // Passive and active: the peer has confirmed.
    void set_established_handler(EstablishedHandler handler) { on_established_ = std::move(handler); }
    // Once for each connection that had a queue pair, after that was destroyed, whoever ended it.
    void set_disconnected_handler(DisconnectedHandler handler) { on_disconnected_ = std::move(handler); }

    // Active side. Returns our QPN, or 0 when there is none: then the callback is not called. Else it is
    // called once, later. Timers count from the last tick() or on_datagram(). Throws what validate() throws.
    uint32_t connect(const ConnectParams& params, ConnectCallback callback);

    // Ends a connection in any state: the queue pair stops now, the peer is told (DREQ, repeated), `done` is
    // called when it has answered or will not, or from inside when there is nobody to wait for. False: no
    // such connection, or it is already ending; `done` is dropped.
    bool disconnect(uint32_t qpn, std::function<void()> done = {});
    // The same for a queue pair that has failed or is no longer wanted: nobody waits.
    void close(uint32_t qpn) { disconnect(qpn); }
    void close_all();

    // A decoded datagram to QP1 that came in on `port`. Takes nothing; every check beyond roce::decode() is
    // made here.
    void on_datagram(const net::PortConfig& port, std::span<const uint8_t> frame, const roce::Packet& packet,
                     uint64_t now_us);

    // Drives resends, timeouts and wait states. Call every 1 to 50 ms.
    void tick(uint64_t now_us);

    std::vector<ConnectionInfo> list() const;
    size_t size() const { return table_.size(); }
    const CmCounters& counters() const { return counters_; }
    uint64_t guid() const { return guid_; }

  private:
    // What came in, and from where to answer.
    struct Incoming {
        const net::PortConfig& port;
        net::Path path;  // towards the sender
        uint64_t transaction;
    };

    // connection_manager.cc
    void send(const net::Path& path, const roce::Mad& mad);
    void send_repeatedly(Connection& connection, const roce::CmMessage& message, uint32_t tries,
                         uint64_t interval_us);
    void resend(Connection& connection);
    void unanswered(Connection& connection);
    Connection* find_pair(const Incoming& from, uint32_t local_id, uint32_t remote_id);
    void establish(Connection& connection);
    void enter_time_wait(Connection& connection);
    void stop_qp(Connection& connection, DisconnectReason why);
    void forget(Connection& connection);
    void log(net::LogLevel level, const Connection& connection, const std::string& what) const;
    static uint16_t udp_source_port(uint32_t qpn);
    uint32_t random_psn() { return static_cast<uint32_t>(random_()) & roce::kQpnMask; }

    // passive.cc
    void handle(const Incoming& from, const roce::CmRequest& req);
    bool repeated(const Incoming& from, const roce::CmRequest& req);
    // Why a request is refused before anyone is asked, with the counter of that refusal.
    struct Refusal {
        RejectReason reason;
        std::atomic<uint64_t>& counter;
    };
    std::optional<Refusal> refusal(const Incoming& from, const roce::CmRequest& req);
    std::atomic<uint64_t>* reached_limit(const net::IpAddress& source);
    void refuse_stale(const Incoming& from, const roce::CmRequest& req, Connection& old);
    void accept(const Incoming& from, const roce::CmRequest& req, const ConnectRequest& request,
                const AcceptDecision& decision);
    void handle(const Incoming& from, const roce::CmReadyToUse& rtu);
    void rep_unanswered(Connection& connection);

    // active.cc
    void handle(const Incoming& from, const roce::CmReply& rep);
    void establish_active(Connection& connection, const Incoming& from, const roce::CmReply& rep);
    void send_rtu(Connection& connection, uint64_t transaction);
    void req_unanswered(Connection& connection);
    void give_up(Connection& connection);
    void abandon(Connection& connection, const ConnectResult& result);

    // reject.cc
    void reject(const net::Path& path, uint64_t transaction, roce::CmReject rej,
                std::atomic<uint64_t>& counter, std::span<const uint8_t> data = {});
    Connection* find_rejected(const Incoming& from, const roce::CmReject& rej);
    void handle(const Incoming& from, const roce::CmReject& rej);
    void handle(const Incoming& from, const roce::CmReceiptAck& mra);

    // disconnect.cc
    void handle(const Incoming& from, const roce::CmDisconnectRequest& dreq);
    void handle(const Incoming& from, const roce::CmDisconnectReply& drep);
    void start_disconnect(Connection& connection);
    void answer_when_gone(const Incoming& from, const roce::CmDisconnectRequest& dreq);
    void answer_late();

    net::PacketIo& io_;
    const std::vector<net::PortConfig>& ports_;
    QpProvider& provider_;
    const CmOptions options_;
    const net::LogSink log_;
    CmCounters counters_;
    std::mt19937_64 random_;
    const uint64_t guid_;
    uint64_t next_transaction_;
    uint32_t next_psn_ = 0;  // of the datagrams that we send
    uint64_t now_us_ = 0;
    ConnectionTable table_;
    // DREPs that wait for their queue pair's end.
    struct LateAnswer {
        net::Path path;
        roce::Mad drep;
        uint32_t qpn;
    };
    std::vector<LateAnswer> late_answers_;
    std::map<uint16_t, AcceptHandler> listeners_;
    EstablishedHandler on_established_;
    DisconnectedHandler on_disconnected_;
};

}  // namespace lagan::cm
