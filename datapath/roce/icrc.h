// SPDX-License-Identifier: BSD-3-Clause
// The invariant CRC of RoCEv2 (IBA annex A17.3.3): a CRC-32 over eight 0xff bytes and the packet from the IP header on,
// with the fields that routers change masked to ones.
#pragma once

#include <cstdint>
#include <cstring>

#include "datapath/roce/crc32.h"
#include "datapath/roce/decode.h"

namespace lagan::roce {

// The raw state behind the eight 0xff bytes that stand for LRH and GRH (before final inversion; initial ~0).
// The raw CRC state of the masked IP and UDP headers, the BTH (byte 4 masked) and the extension headers.
// `ip` points at the IP header, `transport_bytes` counts BTH and extension headers.
uint32_t icrc_header_state(const uint8_t* ip, bool is_ipv6, uint32_t transport_bytes);

// The ICRC as stored on the wire (little-endian) from the state behind payload and pad.
inline void icrc_store(uint8_t* to, uint32_t state) {
    const uint32_t value = ~state;  // x86 is little-endian, as the ICRC is
    std::memcpy(to, &value, sizeof value);
}
inline bool icrc_matches(const uint8_t* wire, uint32_t state) {
    uint32_t value;
    std::memcpy(&value, wire, sizeof value);
    return value == ~state;
}

// Whole check of a decoded packet, payload included.
bool icrc_ok(const Packet& packet);

}  // namespace lagan::roce
