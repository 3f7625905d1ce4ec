// SPDX-License-Identifier: BSD-3-Clause
// What the connection manager received, sent and refused. Single writer: the control thread.
#pragma once

#include <atomic>
#include <cstdint>

#include "datapath/net/counters.h"

namespace lagan::cm {

// X(name, help)
#define LAGAN_CM_COUNTERS(X)                                                                         \
    X(req_received, "connection requests")                                                           \
    X(req_duplicate, "requests seen before: the reply was sent again, or nothing")                   \
    X(req_sent, "connection requests sent, resends included")                                        \
    X(rep_received, "replies to requests of ours, duplicates included")                              \
    X(rep_sent, "replies sent, resends included")                                                    \
    X(rtu_sent, "ready-to-use messages sent, for duplicate replies included")                        \
    X(rtu_received, "ready-to-use messages")                                                         \
    X(rtu_implied, "connections confirmed by their first packet, the RTU having been lost")          \
    X(dreq_received, "disconnect requests")                                                          \
    X(dreq_unknown, "disconnect requests for no connection of ours, answered all the same")          \
    X(dreq_wrong_qpn, "disconnect requests with the wrong QPN, ignored")                             \
    X(dreq_sent, "disconnect requests sent, resends included")                                       \
    X(drep_received, "disconnect replies")                                                           \
    X(drep_sent, "disconnect replies sent")                                                          \
    X(mra_received, "messages that ask for more time")                                               \
    X(rej_received, "rejections received")                                                           \
    X(accepted, "connections accepted")                                                              \
    X(established, "connections established, passive and active")                                    \
    X(disconnected, "connections that ended")                                                        \
    X(connect_timeout, "requests of ours that nobody answered")                                      \
    X(disconnect_timeout, "disconnect requests of ours that nobody answered")                        \
    X(rtu_timeout, "accepted connections that were never confirmed")                                 \
    X(stale_connection, "old connections ended because their peer came back")                        \
    X(rej_sent_no_resources, "rejected (3): a limit was reached, or no queue pair was free")         \
    X(rej_sent_timeout, "rejected (4): gave up on a request of our own")                             \
    X(rej_sent_unsupported, "rejected (5): wrong P_Key, or no IP CM header")                         \
    X(rej_sent_invalid_comm_id, "rejected (6): a reply to no request of ours")                       \
    X(rej_sent_invalid_service_id, "rejected (8): nobody listens on that port")                      \
    X(rej_sent_invalid_transport_type, "rejected (9): not a reliable connection")                    \
    X(rej_sent_stale_connection, "rejected (10): that queue pair is still connected")                \
    X(rej_sent_invalid_gid, "rejected (12): the GIDs are not the packet's addresses")                \
    X(rej_sent_invalid_mtu, "rejected (26): the path MTU does not fit the port")                     \
    X(rej_sent_consumer, "rejected (28, or as the service said): refused by the service")            \
    X(limit_half_open, "requests refused: too many unconfirmed connections")                         \
    X(limit_half_open_source, "requests refused: too many unconfirmed from that address")            \
    X(limit_connections, "requests refused: too many connections")                                   \
    X(datagram_not_for_us, "QP1 packets whose MAC or IP address is not ours")                        \
    X(datagram_bad_source, "QP1 packets from a multicast or otherwise impossible address")           \
    X(datagram_not_ud, "QP1 packets that are no UD SEND_ONLY of a MAD's size")                       \
    X(datagram_qkey, "QP1 packets with the wrong Q_Key")                                             \
    X(datagram_icrc, "QP1 packets with a wrong ICRC")                                                \
    X(mad_malformed, "MADs with a wrong version, class, method or field, or of no kind served here") \
    X(mad_unexpected, "CM messages that match no connection, or not in its state")                   \
    X(wrong_source, "CM messages for a connection from another address than its peer's")             \
    X(no_mbuf, "a message was not sent for want of an mbuf")

struct CmCounters {
#define LAGAN_X(name, help) std::atomic<uint64_t> name{0};
    LAGAN_CM_COUNTERS(LAGAN_X)
#undef LAGAN_X

    // visit(name, help, value) for each, from any thread.
    template <typename Visitor>
    void for_each(Visitor&& visit) const {
#define LAGAN_X(name, help) visit(#name, help, name.load(std::memory_order_relaxed));
        LAGAN_CM_COUNTERS(LAGAN_X)
#undef LAGAN_X
    }
};

using net::count;

}  // namespace lagan::cm
