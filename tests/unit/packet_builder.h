// SPDX-License-Identifier: BSD-3-Clause
// RoCEv2 frames for tests: right in every field unless told otherwise.
#pragma once

#include <algorithm>
#include <boost/endian/conversion.hpp>
#include <cstdint>
#include <functional>
#include <vector>

#include "datapath/roce/headers.h"
#include "datapath/roce/icrc.h"
#include "datapath/roce/opcode.h"

namespace lagan::test {

using Frame = std::vector<uint8_t>;

inline size_t ip_offset_of(const Frame& frame) {
    return frame.size() > 13 && frame[12] == 0x81 ? 18 : 14;
}

// As far as the header lies within the frame.
inline void fix_ipv4_checksum(Frame& frame) {
    const size_t begin = ip_offset_of(frame);
    if (frame.size() < begin + 20) return;
    const size_t end = std::min(frame.size(), begin + (frame[begin] & 0x0fU) * 4) & ~size_t{1};
    frame[begin + 10] = frame[begin + 11] = 0;
    uint32_t sum = 0;
    for (size_t i = begin; i < end; i += 2)
        sum += boost::endian::load_big_u16(&frame[i]);
    while (sum > 0xffff)
        sum = (sum & 0xffff) + (sum >> 16);
    boost::endian::store_big_u16(&frame[begin + 10], static_cast<uint16_t>(~sum));
}

// The first `bytes` bytes, with an IP length (and, if wanted, a UDP length) that agrees with them.
inline Frame cut_consistently(Frame frame, size_t bytes, bool udp_too) {
    frame.resize(bytes);
    const size_t ip = ip_offset_of(frame);
    if (bytes < ip + 40) return frame;
    const bool ipv6 = (frame[ip] >> 4) == 6;
    const size_t udp = ip + (ipv6 ? 40 : 20);
    boost::endian::store_big_u16(&frame[ip + (ipv6 ? 4 : 2)],
                                 static_cast<uint16_t>(bytes - (ipv6 ? udp : ip)));
    if (udp_too && bytes >= udp + 8)
        boost::endian::store_big_u16(&frame[udp + 4], static_cast<uint16_t>(bytes - udp));
    if (!ipv6) fix_ipv4_checksum(frame);
    return frame;
}

class PacketBuilder {
  public:
    static constexpr uint32_t kQpn = 0x00fe12, kPsn = 0xabcdef;

    explicit PacketBuilder(roce::Opcode opcode) : opcode_(static_cast<uint8_t>(opcode)) {}

    PacketBuilder& ipv6(bool on) { return ipv6_ = on, *this; }
    PacketBuilder& vlan(bool on) { return vlan_ = on, *this; }
    PacketBuilder& payload(uint32_t bytes) { return payload_bytes_ = bytes, *this; }
    PacketBuilder& unpadded() { return padded_ = false, *this; }
    PacketBuilder& udp_port(uint16_t port) { return udp_port_ = port, *this; }
    PacketBuilder& udp_length_off_by(int bytes) { return udp_length_error_ = bytes, *this; }
    // More or fewer bytes than the opcode wants, all lengths in agreement.
    PacketBuilder& transport_bytes_off_by(int bytes) { return transport_error_ = bytes, *this; }
    PacketBuilder& ipv4_options(size_t bytes) { return options_.assign(bytes, 1), *this; }  // no-operations
    PacketBuilder& ipv6_extension(uint8_t protocol, const Frame& bytes) {
        return ipv6_ = true, protocol_ = protocol, options_ = bytes, *this;
    }
    PacketBuilder& bth(const std::function<void(roce::Bth&)>& change) { return change_bth_ = change, *this; }

    Frame build() const {
        const Frame transport = build_transport();
        Frame frame = {0x52, 0x54, 0, 0, 0, 1, 0x52, 0x54, 0, 0, 0, 2};
        if (vlan_) frame.insert(frame.end(), {0x81, 0x00, 0x60, 0x07});
        frame.push_back(ipv6_ ? 0x86 : 0x08);
        frame.push_back(ipv6_ ? 0xdd : 0x00);
        const size_t ip = frame.size();
        append_ip(frame, 8 + transport.size());
        const size_t udp = frame.size();
        frame.resize(udp + 8);
        boost::endian::store_big_u16(&frame[udp], 0xc123);
        boost::endian::store_big_u16(&frame[udp + 2], udp_port_);
        const int udp_bytes = static_cast<int>(8 + transport.size()) + udp_length_error_;
        boost::endian::store_big_u16(&frame[udp + 4], static_cast<uint16_t>(udp_bytes));
        frame.insert(frame.end(), transport.begin(), transport.end());
        if (!ipv6_) fix_ipv4_checksum(frame);
        if (options_.empty() && transport_error_ == 0) store_icrc(frame, ip);
        return frame;
    }

  private:
    // BTH to ICRC; the payload counts up.
    Frame build_transport() const {
        roce::Bth bth{};
        bth.opcode = opcode_;
        bth.flags = static_cast<uint8_t>(pad_bytes() << 4);
        bth.pkey = roce::kDefaultPkey;
        bth.dest_qpn = kQpn;
        bth.psn = kPsn;
        if (change_bth_) change_bth_(bth);
        const auto* bytes = reinterpret_cast<const uint8_t*>(&bth);
        Frame transport(bytes, bytes + sizeof bth);
        transport.resize(transport.size() + extension_bytes());
        for (uint32_t i = 0; i < payload_bytes_; ++i)
            transport.push_back(static_cast<uint8_t>(i));
        transport.resize(transport.size() + pad_bytes() + roce::kIcrcBytes);
        transport.resize(static_cast<size_t>(static_cast<int>(transport.size()) + transport_error_));
        return transport;
    }

    void append_ip(Frame& frame, size_t payload_bytes) const {
        if (ipv6_) {
            const Frame header = {0x60, 0, 0, 0, 0, 0, protocol_, 64};
            frame.insert(frame.end(), header.begin(), header.end());
            boost::endian::store_big_u16(&frame[frame.size() - 4],
                                         static_cast<uint16_t>(options_.size() + payload_bytes));
            for (uint8_t i = 0; i < 32; ++i)
                frame.push_back(i == 0 || i == 16 ? 0xfd : i);
        } else {
            const auto version_and_length = static_cast<uint8_t>(0x40 | (5 + options_.size() / 4));
            const Frame header = {
                version_and_length, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 9, 0, 1, 10, 9, 0, 2};
            frame.insert(frame.end(), header.begin(), header.end());
            const size_t total_bytes = header.size() + options_.size() + payload_bytes;
            boost::endian::store_big_u16(&frame[frame.size() - 18], static_cast<uint16_t>(total_bytes));
        }
        frame.insert(frame.end(), options_.begin(), options_.end());
    }

    void store_icrc(Frame& frame, size_t ip) const {
        const auto header_bytes = static_cast<uint32_t>(sizeof(roce::Bth) + extension_bytes());
        const uint32_t headers = roce::icrc_header_state(&frame[ip], ipv6_, header_bytes);
        const size_t payload = ip + (ipv6_ ? 48 : 28) + header_bytes;
        const size_t icrc = frame.size() - roce::kIcrcBytes;
        roce::icrc_store(&frame[icrc], roce::crc32_raw(headers, frame.data() + payload, icrc - payload));
    }

    size_t extension_bytes() const { return roce::kOpcodes[opcode_].extension_bytes; }
    size_t pad_bytes() const { return padded_ ? (4 - payload_bytes_ % 4) % 4 : 0; }

    uint8_t opcode_;
    bool ipv6_ = false, vlan_ = false, padded_ = true;
    uint8_t protocol_ = 17;  // next header of the IPv6 header
    uint32_t payload_bytes_ = 0;
    uint16_t udp_port_ = roce::kUdpPort;
    int udp_length_error_ = 0, transport_error_ = 0;
    Frame options_;  // IPv4 options or IPv6 extension headers
    std::function<void(roce::Bth&)> change_bth_;
};

}  // namespace lagan::test
