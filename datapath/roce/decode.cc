// SPDX-License-Identifier: BSD-3-Clause
// Layer by layer; every step knows how many bytes are left and reads no further.
#include "datapath/roce/decode.h"

#include <netinet/in.h>
#include <rte_ether.h>
#include <rte_ip.h>

#include <boost/endian/conversion.hpp>

namespace lagan::roce {

namespace {

using boost::endian::load_big_u16;

constexpr uint32_t kEthernetBytes = 14, kVlanTagBytes = 4;
constexpr uint32_t kIpv4Bytes = 20, kIpv6Bytes = 40, kUdpBytes = 8;
constexpr uint32_t kCnpPayloadBytes = 16;

constexpr Decoded kRoce = {DecodeResult::roce, DropReason::none};
constexpr Decoded kPunt = {DecodeResult::punt, DropReason::none};

constexpr Decoded drop(DropReason reason) {
    return {DecodeResult::drop, reason};
}

// What follows the headers must be what the opcode allows. `bytes` counts payload and pad.
Decoded check_payload(const OpcodeInfo& info, uint32_t bytes, uint32_t pad_bytes) {
    if (!info.has(kPayload)) {
        if (bytes != 0) return drop(DropReason::bth_length);
        return pad_bytes != 0 ? drop(DropReason::bth_pad) : kRoce;
    }
    if (bytes % 4 != 0 || bytes < pad_bytes) return drop(DropReason::bth_pad);
    if (info.has(kCnp) && bytes != kCnpPayloadBytes) return drop(DropReason::bth_length);
    return kRoce;
}

// `bytes`: what the UDP datagram carries, from the BTH to the ICRC.
Decoded decode_transport(const uint8_t* bytes_begin, uint32_t bytes, Packet& out) {
    if (bytes < sizeof(Bth) + kIcrcBytes) return drop(DropReason::bth_length);
    const Bth& bth = *reinterpret_cast<const Bth*>(bytes_begin);
    if (bth.version() != 0) return drop(DropReason::bth_version);
    const OpcodeInfo& info = kOpcodes[bth.opcode];
    if (!info.known()) return drop(DropReason::bth_opcode);
    // The upper bit tells full members from limited ones; both may talk to us, a full member.
    if ((bth.pkey & 0x7fff) != (kDefaultPkey & 0x7fff)) return drop(DropReason::bth_pkey);

    const uint32_t header_bytes = static_cast<uint32_t>(sizeof(Bth)) + info.extension_bytes;
    if (bytes < header_bytes + kIcrcBytes) return drop(DropReason::bth_length);
    const uint32_t padded_bytes = bytes - header_bytes - kIcrcBytes;
    const uint32_t pad_bytes = bth.pad_bytes();
    const Decoded checked = check_payload(info, padded_bytes, pad_bytes);
    if (checked.result == DecodeResult::drop) return checked;

    out.bth = &bth;
    out.payload = bytes_begin + header_bytes;
    out.info = &info;
    out.payload_bytes = padded_bytes - pad_bytes;
    out.dest_qpn = bth.dest_qpn;
    out.psn = bth.psn;
    out.opcode = bth.opcode;
    out.pad_bytes = static_cast<uint8_t>(pad_bytes);
    if (!info.has(kDatagram)) [[likely]]
        return kRoce;
    const bool to_cm = out.dest_qpn == kGsiQpn && bth.opcode == static_cast<uint8_t>(Opcode::ud_send_only);
    return to_cm ? kPunt : drop(DropReason::unknown_qpn);
}

// `bytes`: the IP payload.
Decoded decode_udp(const uint8_t* udp, uint32_t bytes, Packet& out) {
    if (bytes < kUdpBytes) return drop(DropReason::udp_length);
    if (load_big_u16(udp + 2) != kUdpPort) return drop(DropReason::not_rocev2);
    if (load_big_u16(udp + 4) != bytes) return drop(DropReason::udp_length);
    return decode_transport(udp + kUdpBytes, bytes - kUdpBytes, out);
}

bool is_rocev2(const uint8_t* udp, uint32_t bytes) {
    return bytes >= kUdpBytes && load_big_u16(udp + 2) == kUdpPort;
}

// The ICRC leaves the checksum out, so this is the only guard of ToS, TTL and the checksum itself. The sum
// over the header, its checksum included, is all ones.
bool ipv4_checksum_ok(const uint8_t* ip, uint32_t header_bytes) {
    return rte_raw_cksum(ip, header_bytes) == 0xffff;
}

// A header with options, its length and checksum checked.
[[gnu::noinline]] Decoded decode_ipv4_options(const uint8_t* ip, uint32_t header_bytes,
                                              uint32_t total_bytes) {
    if (ip[9] == IPPROTO_ICMP) return kPunt;
    const bool ours = ip[9] == IPPROTO_UDP && is_rocev2(ip + header_bytes, total_bytes - header_bytes);
    return drop(ours ? DropReason::ip_options : DropReason::not_rocev2);
}

Decoded decode_ipv4(const uint8_t* ip, uint32_t bytes, Packet& out) {
    if (bytes < kIpv4Bytes) return drop(DropReason::truncated);
    const uint32_t header_bytes = (ip[0] & 0x0fU) * 4;
    if ((ip[0] >> 4) != 4 || header_bytes < kIpv4Bytes) return drop(DropReason::ip_header);
    if (bytes < header_bytes) return drop(DropReason::truncated);
    const bool plain = header_bytes == kIpv4Bytes;
    if (!(plain ? ipv4_checksum_ok(ip, kIpv4Bytes) : ipv4_checksum_ok(ip, header_bytes)))
        return drop(DropReason::ip_header);
    const uint32_t total_bytes = load_big_u16(ip + 2);
    if (total_bytes < header_bytes || total_bytes > bytes) return drop(DropReason::ip_length);
    constexpr uint16_t kMoreFragmentsOrOffset = 0x3fff;
    if ((load_big_u16(ip + 6) & kMoreFragmentsOrOffset) != 0) return drop(DropReason::ip_fragment);
    if (!plain) return decode_ipv4_options(ip, header_bytes, total_bytes);
    if (ip[9] == IPPROTO_UDP) [[likely]] {
        out.ip = ip;
        out.is_ipv6 = false;
        return decode_udp(ip + kIpv4Bytes, total_bytes - kIpv4Bytes, out);
    }
    return ip[9] == IPPROTO_ICMP ? kPunt : drop(DropReason::not_rocev2);
}

// Extension headers are not served; they are walked only to name the reason. Each is at least eight bytes
// long, which bounds the loop.
[[gnu::noinline]] Decoded decode_ipv6_extensions(const uint8_t* at, uint32_t bytes, uint8_t next_header) {
    while (next_header == IPPROTO_HOPOPTS || next_header == IPPROTO_ROUTING ||
           next_header == IPPROTO_DSTOPTS) {
        if (bytes < 8) return drop(DropReason::ip_length);
        const uint32_t header_bytes = (at[1] + 1U) * 8;
        if (bytes < header_bytes) return drop(DropReason::ip_length);
        next_header = at[0];
        at += header_bytes;
        bytes -= header_bytes;
    }
    if (next_header == IPPROTO_FRAGMENT) return drop(DropReason::ip_fragment);
    const bool ours = next_header == IPPROTO_UDP && is_rocev2(at, bytes);
    return drop(ours ? DropReason::ip_options : DropReason::not_rocev2);
}

Decoded decode_ipv6(const uint8_t* ip, uint32_t bytes, Packet& out) {
    if (bytes < kIpv6Bytes) return drop(DropReason::truncated);
    if ((ip[0] >> 4) != 6) return drop(DropReason::ip_header);
    const uint32_t payload_bytes = load_big_u16(ip + 4);
    if (payload_bytes > bytes - kIpv6Bytes) return drop(DropReason::ip_length);
    if (ip[6] == IPPROTO_UDP) [[likely]] {
        out.ip = ip;
        out.is_ipv6 = true;
        return decode_udp(ip + kIpv6Bytes, payload_bytes, out);
    }
    if (ip[6] == IPPROTO_ICMPV6) return kPunt;
    return decode_ipv6_extensions(ip + kIpv6Bytes, payload_bytes, ip[6]);
}

}  // namespace

Decoded decode(const uint8_t* frame, uint32_t frame_bytes, Packet& out) {
    if (frame_bytes < kEthernetBytes) return drop(DropReason::truncated);
    uint32_t offset = kEthernetBytes;
    uint16_t type = load_big_u16(frame + offset - 2);
    if (type == RTE_ETHER_TYPE_VLAN) {
        offset += kVlanTagBytes;
        if (frame_bytes < offset) return drop(DropReason::truncated);
        type = load_big_u16(frame + offset - 2);
    }
    if (type == RTE_ETHER_TYPE_IPV4) [[likely]]
        return decode_ipv4(frame + offset, frame_bytes - offset, out);
    if (type == RTE_ETHER_TYPE_IPV6) return decode_ipv6(frame + offset, frame_bytes - offset, out);
    return type == RTE_ETHER_TYPE_ARP ? kPunt : drop(DropReason::not_ip);
}

}  // namespace lagan::roce
