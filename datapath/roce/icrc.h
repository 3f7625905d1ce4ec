// SPDX-License-Identifier: BSD-3-Clause
// The invariant CRC of RoCEv2 (IBA annex A17.3.3): a CRC-32 over eight 0xff bytes and the packet from the IP
// header on, with the fields that routers change masked to ones.
#pragma once

#include <cstdint>
#include <cstring>

#include "datapath/roce/crc32.h"
#include "datapath/roce/decode.h"

namespace lagan::roce {

// The raw CRC state (crc32.h) behind the eight 0xff bytes that stand for the absent LRH and GRH, initial
// state ~0.
inline constexpr uint32_t kIcrcInitialState = 0xdebb20e3;

// The longest BTH with its extension headers, and the longest IP and UDP headers before it.
inline constexpr uint32_t kMaxTransportHeaderBytes = sizeof(Bth) + sizeof(AtomicEth);
inline constexpr uint32_t kMaxNetworkHeaderBytes = 40 + 8;

// The state behind the headers: the eight 0xff bytes, the masked IP and UDP headers, the BTH with byte 4
// masked, the extension headers. `ip` points at an IPv4 header without options or at an IPv6 header, and UDP
// follows it; `transport_bytes` counts BTH and extension headers: a multiple of four from 12 to
// kMaxTransportHeaderBytes.
uint32_t icrc_header_state(const uint8_t* ip, bool is_ipv6, uint32_t transport_bytes);

// The same for CPUs without PCLMULQDQ (icrc_header_state chooses).
uint32_t icrc_header_state_portable(const uint8_t* ip, bool is_ipv6, uint32_t transport_bytes);

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

// Whole check of a packet that decode() has accepted, payload included.
bool icrc_ok(const Packet& packet);

}  // namespace lagan::roce
