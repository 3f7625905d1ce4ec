// SPDX-License-Identifier: BSD-3-Clause
// From a received Ethernet frame to a checked view of its RoCEv2 headers. No state, no copy; the ICRC is
// checked apart (icrc.h), because a WRITE's payload is checked while it is copied.
#pragma once

#include <cstdint>

#include "datapath/drop_reason.h"
#include "datapath/roce/headers.h"
#include "datapath/roce/opcode.h"

namespace lagan::roce {

// A view into one received frame. Pointers stay valid as long as the frame's bytes do.
struct Packet {
    const uint8_t* ip;       // first byte of the IPv4 or IPv6 header
    const Bth* bth;          //
    const uint8_t* payload;  // behind the extension headers
    const OpcodeInfo* info;  // never null after a successful decode
    uint32_t payload_bytes;  // without pad
    uint32_t dest_qpn;
    uint32_t psn;
    uint8_t opcode;
    uint8_t pad_bytes;
    bool is_ipv6;

    uint32_t ip_header_bytes() const { return is_ipv6 ? 40 : 20; }
    uint32_t transport_header_bytes() const {  // BTH and extension headers
        return static_cast<uint32_t>(payload - reinterpret_cast<const uint8_t*>(bth));
    }
    // The extension header that starts `offset` bytes behind the BTH (OpcodeInfo has the offsets).
    template <typename Header>
    const Header& extension(uint32_t offset) const {
        return *reinterpret_cast<const Header*>(reinterpret_cast<const uint8_t*>(bth + 1) + offset);
    }
    const uint8_t* icrc() const { return payload + payload_bytes + pad_bytes; }
};

// `punt` is what the control thread answers: ARP, IPv6 ND, ICMP and ICMPv6 echo, and datagrams to QP1.
enum class DecodeResult : uint8_t { roce, punt, drop };

struct Decoded {
    DecodeResult result;
    DropReason reason;  // DropReason::none unless result is drop
};

// `frame` points at the Ethernet header (one 802.1Q tag is skipped), `frame_bytes` counts it without FCS; the
// frame may be longer than its IP length says (Ethernet padding). Checks everything up to and including the
// BTH, the opcode's length rules and the pad; does not check addresses against a port or a QP, nor the ICRC.
// For a RoCE packet to QP1 (UD SEND_ONLY) `out` is filled in and the result is punt.
Decoded decode(const uint8_t* frame, uint32_t frame_bytes, Packet& out);

}  // namespace lagan::roce
