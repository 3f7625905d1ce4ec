// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/roce/icrc.h"

namespace lagan::roce {

namespace {

constexpr uint32_t kUdpBytes = 8;

// Routers may change ToS, TTL and with them the header checksum.
void mask_ipv4(uint8_t* ip) {
    ip[1] = 0xff;
    ip[8] = 0xff;
    ip[10] = ip[11] = 0xff;
}

// Traffic class, flow label and hop limit: all of the first word but the version.
void mask_ipv6(uint8_t* ip) {
    ip[0] |= 0x0f;
    ip[1] = ip[2] = ip[3] = 0xff;
    ip[7] = 0xff;
}

}  // namespace

uint32_t icrc_header_state(const uint8_t* ip, bool is_ipv6, uint32_t transport_bytes) {
    const uint32_t bth_offset = (is_ipv6 ? 40U : 20U) + kUdpBytes;
    const uint32_t bytes = bth_offset + transport_bytes;
    uint8_t masked[kMaxNetworkHeaderBytes + kMaxTransportHeaderBytes];
    std::memcpy(masked, ip, bytes);
    if (is_ipv6)
        mask_ipv6(masked);
    else
        mask_ipv4(masked);
    masked[bth_offset - 2] = masked[bth_offset - 1] = 0xff;  // UDP checksum
    masked[bth_offset + 4] = 0xff;                           // FECN, BECN and reserved bits
    return crc32_raw(kIcrcInitialState, masked, bytes);
}

bool icrc_ok(const Packet& packet) {
    const uint32_t headers = icrc_header_state(packet.ip, packet.is_ipv6, packet.transport_header_bytes());
    const uint32_t state = crc32_raw(headers, packet.payload, packet.payload_bytes + packet.pad_bytes);
    return icrc_matches(packet.icrc(), state);
}

}  // namespace lagan::roce
