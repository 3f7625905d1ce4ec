// SPDX-License-Identifier: BSD-3-Clause
#include "tests/support/raw_peer.h"

#include <boost/endian/conversion.hpp>
#include <stdexcept>

#include "datapath/roce/icrc.h"

namespace lagan::test {

using boost::endian::store_big_u16;
using roce::Opcode;

namespace {

constexpr size_t kEthernetBytes = 14, kUdpBytes = 8;

void append(Frame& frame, const void* bytes, size_t count) {
    const auto* from = static_cast<const uint8_t*>(bytes);
    frame.insert(frame.end(), from, from + count);
}

void append_ip(Frame& frame, const net::Path& path, size_t udp_bytes) {
    if (path.remote_ip.is_ipv4()) {
        const size_t at = frame.size();
        const Frame header = {0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0};
        append(frame, header.data(), header.size());
        store_big_u16(&frame[at + 2], static_cast<uint16_t>(20 + udp_bytes));
        append(frame, path.local_ip.ipv4(), 4);
        append(frame, path.remote_ip.ipv4(), 4);
    } else {
        const Frame header = {
            0x60, 0, 0, 0, static_cast<uint8_t>(udp_bytes >> 8), static_cast<uint8_t>(udp_bytes), 17, 64};
        append(frame, header.data(), header.size());
        append(frame, path.local_ip.bytes.data(), 16);
        append(frame, path.remote_ip.bytes.data(), 16);
    }
}

void store_ipv4_checksum(Frame& frame, size_t ip) {
    uint32_t sum = 0;
    store_big_u16(&frame[ip + 10], 0);
    for (size_t i = 0; i < 20; i += 2)
        sum += boost::endian::load_big_u16(&frame[ip + i]);
    while (sum > 0xffff)
        sum = (sum & 0xffff) + (sum >> 16);
    store_big_u16(&frame[ip + 10], static_cast<uint16_t>(~sum));
}

Answer parse(const rte_mbuf* mbuf) {
    roce::Packet packet;
    const auto decoded = roce::decode(rte_pktmbuf_mtod(mbuf, const uint8_t*), mbuf->data_len, packet);
    if (decoded.result != roce::DecodeResult::roce || !roce::icrc_ok(packet))
        throw std::runtime_error("the server sent a packet that nobody can read");
    Answer answer{static_cast<Opcode>(packet.opcode),
                  packet.psn,
                  0xff,
                  0,
                  Frame(packet.payload, packet.payload + packet.payload_bytes),
                  0};
    if (packet.info->aeth != roce::kNoHeader) {
        const auto& aeth = packet.extension<roce::Aeth>(packet.info->aeth);
        answer.syndrome = aeth.syndrome;
        answer.msn = aeth.msn;
    }
    if (packet.info->atomic_ack_eth != roce::kNoHeader)
        answer.original = packet.extension<roce::AtomicAckEth>(packet.info->atomic_ack_eth).original;
    return answer;
}

}  // namespace

RawPeer::RawPeer(Loopback& loopback, const memory::Region& region, Role role)
    : link(loopback),
      pair(loopback.connect(region, role)),
      qp(*pair.server),
      psn(loopback.options.psn),
      rkey(region.data_rkey) {}

Frame RawPeer::build(const Request& request) const {
    const roce::OpcodeInfo& info = roce::kOpcodes[static_cast<uint8_t>(request.opcode)];
    const net::Path& path = pair.client->attributes.path;
    const size_t pad = (0 - request.payload.size()) & 3;
    const size_t udp_bytes =
        kUdpBytes + sizeof(roce::Bth) + info.extension_bytes + request.payload.size() + pad + 4;

    Frame frame;
    append(frame, path.remote_mac.addr_bytes, 6);
    append(frame, path.local_mac.addr_bytes, 6);
    const bool ipv6 = !path.remote_ip.is_ipv4();
    append(frame, ipv6 ? "\x86\xdd" : "\x08\x00", 2);
    Request::Layout layout{.ip = kEthernetBytes, .udp = 0, .bth = 0, .payload = 0};
    append_ip(frame, path, udp_bytes);
    layout.udp = frame.size();
    frame.resize(layout.udp + kUdpBytes);
    store_big_u16(&frame[layout.udp], path.udp_source_port);
    store_big_u16(&frame[layout.udp + 2], roce::kUdpPort);
    store_big_u16(&frame[layout.udp + 4], static_cast<uint16_t>(udp_bytes));

    layout.bth = frame.size();
    roce::Bth bth{};
    bth.opcode = static_cast<uint8_t>(request.opcode);
    bth.flags = static_cast<uint8_t>(0x40 | pad << 4);
    bth.pkey = roce::kDefaultPkey;
    bth.dest_qpn = qp.qpn;
    bth.ack_request = request.ack_request ? 0x80 : 0;
    bth.psn = request.psn;
    append(frame, &bth, sizeof bth);
    const size_t extension = frame.size();
    frame.resize(extension + info.extension_bytes);
    if (info.reth != roce::kNoHeader) {
        auto& reth = *reinterpret_cast<roce::Reth*>(&frame[extension + info.reth]);
        reth.va = request.reth.va;
        reth.rkey = request.reth.rkey;
        reth.length = request.reth.length;
    }
    if (info.atomic_eth != roce::kNoHeader) {
        auto& atomic = *reinterpret_cast<roce::AtomicEth*>(&frame[extension + info.atomic_eth]);
        atomic.va = request.atomic.va;
        atomic.rkey = request.atomic.rkey;
        atomic.swap_or_add = request.atomic.swap_or_add;
        atomic.compare = request.atomic.compare;
    }
    layout.payload = frame.size();
    append(frame, request.payload.data(), request.payload.size());
    frame.resize(frame.size() + pad + roce::kIcrcBytes);
    if (request.change) request.change(frame, layout);
    if (!ipv6) store_ipv4_checksum(frame, layout.ip);
    const size_t icrc = frame.size() - roce::kIcrcBytes;
    const uint32_t state =
        roce::icrc_header_state(&frame[layout.ip], ipv6, static_cast<uint32_t>(layout.payload - layout.bth));
    roce::icrc_store(&frame[icrc],
                     roce::crc32_raw(state, frame.data() + layout.payload, icrc - layout.payload));
    if (request.damage) request.damage(frame, layout);
    return frame;
}

void RawPeer::send_frame(const Frame& frame) {
    rte_mbuf* mbuf = rte_pktmbuf_alloc(link.client->rx_pool());
    char* to = mbuf == nullptr ? nullptr : rte_pktmbuf_append(mbuf, static_cast<uint16_t>(frame.size()));
    if (to == nullptr) throw std::runtime_error("no mbuf for a raw packet");
    std::memcpy(to, frame.data(), frame.size());
    if (rte_eth_tx_burst(link.client_port, 0, &mbuf, 1) != 1) throw std::runtime_error("the link is full");
}

std::vector<Answer> RawPeer::answers(uint32_t polls) {
    std::vector<Answer> answers;
    uint32_t idle = 0;
    for (uint32_t done = 0; polls != 0 ? done < polls : idle < 4; done++) {
        idle = poll_once(*link.server) == 0 ? idle + 1 : 0;
        rte_mbuf* mbufs[kBurst];
        uint16_t count;
        while ((count = rte_eth_rx_burst(link.client_port, 0, mbufs, kBurst)) != 0) {
            for (uint16_t i = 0; i < count; i++)
                answers.push_back(parse(mbufs[i]));
            rte_pktmbuf_free_bulk(mbufs, count);
        }
    }
    return answers;
}

Request RawPeer::write_only(uint64_t va, Frame payload) {
    const auto length = static_cast<uint32_t>(payload.size());
    const Request request{.opcode = Opcode::rc_write_only,
                          .psn = psn,
                          .reth = {va, rkey, length},
                          .payload = std::move(payload)};
    psn = roce::psn_add(psn, 1);
    return request;
}

Request RawPeer::read(uint64_t va, uint32_t length) {
    const Request request{.opcode = Opcode::rc_read_request, .psn = psn, .reth = {va, rkey, length}};
    psn = roce::psn_add(psn, roce::psn_count(length, link.options.mtu_bytes));
    return request;
}

Request RawPeer::compare_swap(uint64_t va, uint64_t compare, uint64_t swap) {
    const Request request{.opcode = Opcode::rc_compare_swap, .psn = psn, .atomic = {va, rkey, swap, compare}};
    psn = roce::psn_add(psn, 1);
    return request;
}

Request RawPeer::fetch_add(uint64_t va, uint64_t add) {
    const Request request{.opcode = Opcode::rc_fetch_add, .psn = psn, .atomic = {va, rkey, add, 0}};
    psn = roce::psn_add(psn, 1);
    return request;
}

Request RawPeer::message(Frame payload) {
    const Request request{.opcode = Opcode::rc_send_only, .psn = psn, .payload = std::move(payload)};
    psn = roce::psn_add(psn, 1);
    return request;
}

void RawPeer::acknowledge(uint32_t acknowledged) {
    send({.opcode = Opcode::rc_ack,
          .psn = acknowledged,
          .ack_request = false,
          .change = [](Frame& frame, const Request::Layout& layout) {
              frame[layout.payload - sizeof(roce::Aeth)] = roce::kAckNoCredits;
          }});
}

uint64_t dropped(const Engine& engine, DropReason reason) {
    return engine.counters.drops[static_cast<unsigned>(reason)];
}
uint64_t refused(const Engine& engine, Refusal refusal) {
    return engine.counters.refusals[static_cast<unsigned>(refusal)];
}

}  // namespace lagan::test
