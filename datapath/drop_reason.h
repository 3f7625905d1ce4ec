// SPDX-License-Identifier: BSD-3-Clause
// Every reason for which a received packet is not served, with the text that statistics show for it.
#pragma once

#include <cstdint>

namespace lagan {

// X(name, help). A dropped packet gets no answer at all; refusals that are answered with a NAK are counted
// apart (refusal.h).
#define LAGAN_DROP_REASONS(X)                                                              \
    X(none, "not dropped")                                                                 \
    X(truncated, "the frame ends before its headers do")                                   \
    X(not_ip, "neither IPv4, IPv6 nor ARP")                                                \
    X(ip_header, "bad IPv4 version, header length or checksum, or a wrong IPv6 version")   \
    X(ip_length, "the IP length disagrees with the frame")                                 \
    X(ip_options, "RoCEv2 with IPv4 options or IPv6 extension headers")                    \
    X(ip_fragment, "fragmented RoCEv2 packet")                                             \
    X(udp_length, "the UDP length disagrees with the IP length")                           \
    X(not_rocev2, "UDP to another port, or a protocol that nobody here serves")            \
    X(bth_version, "BTH transport version is not 0")                                       \
    X(bth_opcode, "unknown or reserved BTH opcode")                                        \
    X(bth_pkey, "P_Key is not the default partition")                                      \
    X(bth_length, "the length does not fit the opcode's headers, pad and ICRC")            \
    X(bth_pad, "payload and pad are no multiple of four bytes, or a pad without payload")  \
    X(frozen, "the region has no lease, or is fenced: nothing of it is answered")          \
    X(icrc, "the invariant CRC is wrong")                                                  \
    X(unknown_qpn, "no queue pair of that number")                                         \
    X(qp_not_ready, "the queue pair is in the error state or being closed")                \
    X(address_pair, "the packet's addresses are not those of the queue pair's connection") \
    X(psn_ahead, "ahead of the expected PSN: a packet before it was lost")                 \
    X(psn_invalid, "a PSN far outside the window, or a duplicate that is not one")         \
    X(response_unexpected, "a response that belongs to no outstanding request")            \
    X(response_duplicate, "a response or acknowledgement seen before")                     \
    X(ring_full_punt, "the ring to the control thread was full")                           \
    X(ring_full_handover, "the ring to the queue pair's lcore was full")                   \
    X(no_mbuf, "no mbuf for the reply")                                                    \
    X(retire_full, "too many frames wait for a grace period")                              \
    X(tx_full, "the port did not take the packet")

enum class DropReason : uint8_t {
#define LAGAN_X(name, help) name,
    LAGAN_DROP_REASONS(LAGAN_X)
#undef LAGAN_X
        count_
};

inline constexpr unsigned kDropReasonCount = static_cast<unsigned>(DropReason::count_);

// The name as counters show it, and its help text. Both are static strings.
const char* drop_reason_name(DropReason reason);
const char* drop_reason_help(DropReason reason);

}  // namespace lagan
