// SPDX-License-Identifier: BSD-3-Clause
// What is asked, offered and decided when a connection is made or ends.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "datapath/net/address.h"
#include "datapath/net/port_config.h"
#include "datapath/qp_attributes.h"
#include "datapath/roce/cm_mad.h"

namespace lagan::cm {

using roce::RejectReason;

// Bytes of the consumer's own that each message can carry.
inline constexpr size_t kMaxRequestData = 56;  // behind the IP CM header
inline constexpr size_t kMaxReplyData = 196;
inline constexpr size_t kMaxRejectData = 148;

// A REQ that passed every check of the connection manager's. Spans point into the packet: copy what is kept.
struct ConnectRequest {
    net::Path path;         // as seen from here; the MACs are those of the frame
    uint16_t service_port;  // RDMA_PS_TCP
    uint16_t source_port;   // from the IP CM header
    uint32_t remote_qpn;
    uint64_t remote_guid;
    std::span<const uint8_t> private_data;  // kMaxRequestData bytes
    uint8_t responder_resources;            // READs and atomics that we may have outstanding at them
    uint8_t initiator_depth;                // that they want to have outstanding here
    uint16_t mtu_bytes;                     // fits the port
    uint8_t retry_count;
    uint8_t rnr_retry;
};

// The consumer's answer to a ConnectRequest.
struct AcceptDecision {
    bool accepted = false;
    std::vector<uint8_t> private_data;  // at most kMaxReplyData or kMaxRejectData; what is longer is cut

    // Rejected:
    RejectReason reason = RejectReason::consumer_defined;

    // Accepted:
    uint32_t region_id = 0;
    uint32_t data_rkey = 0;
    Role role = Role::none;
    uint32_t engine = 0;
    uint8_t max_responder_resources = 16;  // READs and atomics outstanding here are limited to this
    uint8_t max_initiator_depth = 16;

    static AcceptDecision reject(std::span<const uint8_t> data,
                                 RejectReason why = RejectReason::consumer_defined) {
        AcceptDecision decision;
        decision.private_data.assign(data.begin(), data.end());
        decision.reason = why;
        return decision;
    }
};
using AcceptHandler = std::function<AcceptDecision(const ConnectRequest&)>;

// What the active side asks for.
struct ConnectParams {
    net::Path path;  // complete: both MACs and IPs, port_id, vlan. udp_source_port is chosen by the
                     // connection manager
    uint16_t service_port = 0;
    std::vector<uint8_t> private_data;  // at most kMaxRequestData
    uint8_t responder_resources = 16;   // READs and atomics that we accept outstanding
    uint8_t initiator_depth = 16;       // that we want to have outstanding
    uint16_t mtu_bytes = 1024;          // 256, 512, 1024, 2048 or 4096, and no more than the port carries
    uint8_t ack_timeout = 14;           // of both queue pairs: 4.096 us × 2^n
    uint8_t retry_count = 7;
    uint8_t rnr_retry = 7;
    uint8_t response_timeout = 16;  // how long to wait for each answer: 4.096 us × 2^n (16: 268 ms)
    uint8_t max_retries = 7;        // REQs sent again; at most 15
    uint32_t engine = 0;
    uint32_t region_id = 0;  // of our memory, the one region that the peer may reach; 0: none
    Role role = Role::none;  // what it may do there
};

// The largest path MTU that a port with an IP MTU of `port_mtu` bytes carries: 1024 for 1500, 4096 from 4188
// on; 0: none.
uint16_t largest_path_mtu(uint16_t port_mtu);

// Throws std::invalid_argument, which says what is wrong. The path needs its port_id only.
void validate(const ConnectParams& params, const std::vector<net::PortConfig>& ports);

enum class ConnectStatus : uint8_t {
    established,
    rejected,      // `reason` and `private_data` say why
    timeout,       // nobody answered
    unreachable,   // no MAC for the address (ControlPlane::connect)
    no_resources,  // no queue pair here
    closed,        // close() was called first
};
const char* to_string(ConnectStatus status);

struct ConnectResult {
    ConnectStatus status = ConnectStatus::timeout;
    uint32_t qpn = 0;       // ours; what disconnect() takes
    RejectReason reason{};  // of the REJ; may be a number outside the list
    std::span<const uint8_t>
        private_data;         // of the REP (196 bytes) or REJ (148 bytes); valid during the callback
    QpAttributes attributes;  // established: what was agreed
};
using ConnectCallback = std::function<void(const ConnectResult&)>;

// Why a connection that had a queue pair ended.
enum class DisconnectReason : uint8_t {
    local,        // disconnect() or close()
    peer,         // DREQ
    peer_reject,  // REJ of the REP, or of a connection that the peer no longer knows
    no_rtu,       // the peer never confirmed
    stale,        // the peer made a new connection from the same queue pair number
};
const char* to_string(DisconnectReason reason);

using DisconnectedHandler = std::function<void(uint32_t qpn, DisconnectReason why)>;
using EstablishedHandler = std::function<void(const QpAttributes& attributes)>;

// One line of a listing.
struct ConnectionInfo {
    uint32_t qpn;
    uint32_t remote_qpn;
    net::IpAddress remote_ip;
    uint32_t region_id;
    Role role;
    bool established;
    bool active;  // made by connect()
};

}  // namespace lagan::cm
