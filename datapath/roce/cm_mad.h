// SPDX-License-Identifier: BSD-3-Clause
// The connection manager's messages (IBA volume 1, chapter 12): 256-byte management datagrams sent to QP1.
// Plain structs in host byte order on one side, the bytes of the MAD on the other. Not for poll loops.
// Thread-safe.
//
// Every field's default is what Linux's rdma_cm sends where it has nothing to say, so that a message needs
// only its identifiers set. Integers wider than their field on the wire are cut to it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <variant>

#include "datapath/net/address.h"

namespace lagan::roce {

inline constexpr size_t kMadBytes = 256;
using Mad = std::array<uint8_t, kMadBytes>;

// What an MRA or a REJ is about.
enum class CmSubject : uint8_t { request = 0, reply = 1, other = 2 };

// Why a connection was refused or given up (IBA table 113). Numbers outside this list may arrive.
#define LAGAN_REJECT_REASONS(X)             \
    X(no_qp, 1)                             \
    X(no_eec, 2)                            \
    X(no_resources, 3)                      \
    X(timeout, 4)                           \
    X(unsupported, 5)                       \
    X(invalid_comm_id, 6)                   \
    X(invalid_comm_instance, 7)             \
    X(invalid_service_id, 8)                \
    X(invalid_transport_type, 9)            \
    X(stale_connection, 10)                 \
    X(rdc_does_not_exist, 11)               \
    X(invalid_gid, 12)                      \
    X(invalid_lid, 13)                      \
    X(invalid_service_level, 14)            \
    X(invalid_traffic_class, 15)            \
    X(invalid_hop_limit, 16)                \
    X(invalid_packet_rate, 17)              \
    X(invalid_alternate_gid, 18)            \
    X(invalid_alternate_lid, 19)            \
    X(invalid_alternate_service_level, 20)  \
    X(invalid_alternate_traffic_class, 21)  \
    X(invalid_alternate_hop_limit, 22)      \
    X(invalid_alternate_packet_rate, 23)    \
    X(port_and_cm_redirection, 24)          \
    X(port_redirection, 25)                 \
    X(invalid_mtu, 26)                      \
    X(insufficient_responder_resources, 27) \
    X(consumer_defined, 28)                 \
    X(invalid_rnr_retry, 29)                \
    X(duplicate_comm_id, 30)                \
    X(invalid_class_version, 31)            \
    X(invalid_flow_label, 32)               \
    X(invalid_alternate_flow_label, 33)

enum class RejectReason : uint16_t {
#define LAGAN_X(name, number) name = number,
    LAGAN_REJECT_REASONS(LAGAN_X)
#undef LAGAN_X
};

// "stale_connection" and so on; "unknown" for a number outside the list. A static string.
const char* reject_reason_name(RejectReason reason);

// 44 bytes of the REQ, once for the primary and once for the alternate path (all zero: none).
struct CmPath {
    uint16_t local_lid = 0;
    uint16_t remote_lid = 0;
    net::IpAddress local_gid;
    net::IpAddress remote_gid;
    uint32_t flow_label = 0;  // 20 bits
    uint8_t packet_rate = 0;  // 6 bits
    uint8_t traffic_class = 0;
    uint8_t hop_limit = 0;
    uint8_t service_level = 0;  // 4 bits
    bool subnet_local = false;
    uint8_t local_ack_timeout = 0;  // 4.096 us * 2^n, 5 bits
};

// REQ: asks for a connection.
struct CmRequest {
    uint32_t local_comm_id = 0;
    uint64_t service_id = 0;
    uint64_t ca_guid = 0;  // unique, not zero
    uint32_t qkey = 0;
    uint32_t local_qpn = 0;
    uint8_t responder_resources = 0;
    uint8_t initiator_depth = 0;
    uint8_t remote_cm_response_timeout = 20;  // 4.096 us * 2^n
    uint8_t transport_service = 0;            // 0: RC
    bool flow_control = false;
    uint32_t starting_psn = 0;
    uint8_t local_cm_response_timeout = 20;
    uint8_t retry_count = 7;
    uint16_t pkey = 0xffff;
    uint8_t path_mtu_code = 5;
    bool rdc_exists = false;
    uint8_t rnr_retry = 7;
    uint8_t max_cm_retries = 15;
    bool srq = false;
    uint8_t extended_transport = 0;
    CmPath primary = {.local_lid = 0xffff, .remote_lid = 0xffff, .hop_limit = 64, .local_ack_timeout = 19};
    CmPath alternate;
    std::array<uint8_t, 92> private_data{};  // IpCmHeader, then the user's 56 bytes
};

// MRA: the answer takes longer.
struct CmReceiptAck {
    uint32_t local_comm_id = 0;
    uint32_t remote_comm_id = 0;
    CmSubject subject = CmSubject::request;
    uint8_t service_timeout = 0;  // 4.096 us * 2^n, 5 bits
    std::array<uint8_t, 222> private_data{};
};

// REJ: refuses or gives up.
struct CmReject {
    uint32_t local_comm_id = 0;
    uint32_t remote_comm_id = 0;
    CmSubject subject = CmSubject::request;
    uint8_t info_bytes = 0;  // of `info` that mean something
    RejectReason reason = RejectReason::consumer_defined;
    std::array<uint8_t, 72> info{};
    std::array<uint8_t, 148> private_data{};
};

// REP: accepts.
struct CmReply {
    uint32_t local_comm_id = 0;
    uint32_t remote_comm_id = 0;
    uint32_t qkey = 0;
    uint32_t local_qpn = 0;
    uint32_t starting_psn = 0;
    uint8_t responder_resources = 0;
    uint8_t initiator_depth = 0;
    uint8_t target_ack_delay = 15;
    uint8_t failover = 0;
    bool flow_control = false;
    uint8_t rnr_retry = 7;
    bool srq = false;
    uint64_t ca_guid = 0;
    std::array<uint8_t, 196> private_data{};
};

// RTU: the active side has seen the REP.
struct CmReadyToUse {
    uint32_t local_comm_id = 0;
    uint32_t remote_comm_id = 0;
    std::array<uint8_t, 224> private_data{};
};

// DREQ: ends a connection.
struct CmDisconnectRequest {
    uint32_t local_comm_id = 0;
    uint32_t remote_comm_id = 0;
    uint32_t remote_qpn = 0;  // the receiver's
    std::array<uint8_t, 220> private_data{};
};

// DREP: confirms the end.
struct CmDisconnectReply {
    uint32_t local_comm_id = 0;
    uint32_t remote_comm_id = 0;
    std::array<uint8_t, 224> private_data{};
};

struct CmMessage {
    uint64_t transaction_id = 0;
    std::variant<CmRequest, CmReceiptAck, CmReject, CmReply, CmReadyToUse, CmDisconnectRequest,
                 CmDisconnectReply>
        body;
};

// Nothing if `mad` is not 256 bytes of a CM message sent by method Send that is one of the above. Values are
// not judged: a field may hold anything that its width allows.
std::optional<CmMessage> decode_cm_mad(std::span<const uint8_t> mad);
Mad encode_cm_mad(const CmMessage& message);

// How rdma_cm puts the IP addresses in front of the REQ's private data (IBA annex A11).
inline constexpr size_t kIpCmHeaderBytes = 36;
struct IpCmHeader {
    uint16_t source_port = 0;
    net::IpAddress source;  // source and destination are of one family
    net::IpAddress destination;
};

// Nothing for another version or address family, or if `data` is shorter than the header.
std::optional<IpCmHeader> decode_ip_cm_header(std::span<const uint8_t> data);
std::array<uint8_t, kIpCmHeaderBytes> encode_ip_cm_header(const IpCmHeader& header);

// Service ids of RDMA_PS_TCP ports.
constexpr uint64_t kTcpServicePrefix = 0x0000000001060000;
constexpr uint64_t service_id_of_port(uint16_t port) {
    return kTcpServicePrefix | port;
}
constexpr std::optional<uint16_t> port_of_service_id(uint64_t service_id) {
    if ((service_id & ~uint64_t{0xffff}) != kTcpServicePrefix) return std::nullopt;
    return static_cast<uint16_t>(service_id & 0xffff);
}

// Path MTU codes 1 to 5 stand for 256 to 4096 bytes.
constexpr std::optional<uint16_t> mtu_bytes_of_code(uint8_t code) {
    if (code < 1 || code > 5) return std::nullopt;
    return static_cast<uint16_t>(128U << code);
}
// The largest code that does not exceed `bytes`; nothing below 256.
constexpr std::optional<uint8_t> mtu_code_of_bytes(uint32_t bytes) {
    for (uint8_t code = 5; code >= 1; --code)
        if (bytes >= (128U << code)) return code;
    return std::nullopt;
}

}  // namespace lagan::roce
