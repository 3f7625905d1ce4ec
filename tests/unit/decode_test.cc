// SPDX-License-Identifier: BSD-3-Clause
// Decoding: captures back to the same bytes, every drop reason, and nothing read behind the frame's end.
#define BOOST_TEST_MODULE decode
#include "datapath/roce/decode.h"

#include <boost/test/unit_test.hpp>
#include <cstring>
#include <functional>
#include <memory>

#include "datapath/roce/icrc.h"
#include "tests/unit/logged_seed.h"
#include "tests/unit/packet_builder.h"
#include "tests/unit/pcap_reader.h"

using namespace lagan;
using namespace lagan::roce;
using lagan::test::Frame;
using lagan::test::PacketBuilder;

namespace {

Packet out_;  // of the last run; points into its frame

Decoded run(const Frame& frame) {
    out_ = Packet{};
    return decode(frame.data(), static_cast<uint32_t>(frame.size()), out_);
}

void expect_drop(const Frame& frame, DropReason reason) {
    const Decoded decoded = run(frame);
    BOOST_TEST((decoded.result == DecodeResult::drop));
    BOOST_TEST(drop_reason_name(decoded.reason) == std::string(drop_reason_name(reason)));
}

void expect(const Frame& frame, DecodeResult result) {
    const Decoded decoded = run(frame);
    BOOST_TEST(static_cast<int>(decoded.result) == static_cast<int>(result),
               drop_reason_name(decoded.reason));
    BOOST_TEST((decoded.result == DecodeResult::drop) == (decoded.reason != DropReason::none));
}

void append(Frame& to, const auto& header) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(&header);
    to.insert(to.end(), bytes, bytes + sizeof header);
}

// BTH to ICRC, made anew from the values that the packet's accessors return.
Frame encode_again(const Packet& packet) {
    const Bth& in = *packet.bth;
    Bth bth{};
    bth.opcode = packet.opcode;
    bth.flags = static_cast<uint8_t>((in.solicited() ? 0x80 : 0) | (in.flags & 0x40) |
                                     (packet.pad_bytes << 4) | in.version());
    bth.pkey = uint16_t{in.pkey};
    bth.ecn = in.ecn;
    bth.dest_qpn = packet.dest_qpn;
    bth.ack_request = in.ack_requested() ? 0x80 : 0;
    bth.psn = packet.psn;
    Frame bytes;
    append(bytes, bth);

    const OpcodeInfo& info = *packet.info;
    if (info.deth != kNoHeader) {
        const Deth& deth = packet.extension<Deth>(info.deth);
        append(bytes, Deth{be32{uint32_t{deth.qkey}}, 0, be24{uint32_t{deth.src_qpn}}});
    }
    if (info.reth != kNoHeader) {
        const Reth& reth = packet.extension<Reth>(info.reth);
        append(bytes, Reth{be64{uint64_t{reth.va}}, be32{uint32_t{reth.rkey}}, be32{uint32_t{reth.length}}});
    }
    if (info.atomic_eth != kNoHeader) {
        const AtomicEth& atomic = packet.extension<AtomicEth>(info.atomic_eth);
        append(bytes, AtomicEth{be64{uint64_t{atomic.va}}, be32{uint32_t{atomic.rkey}},
                                be64{uint64_t{atomic.swap_or_add}}, be64{uint64_t{atomic.compare}}});
    }
    if (info.aeth != kNoHeader) {
        const Aeth& aeth = packet.extension<Aeth>(info.aeth);
        append(bytes, Aeth{aeth.syndrome, be24{uint32_t{aeth.msn}}});
    }
    if (info.atomic_ack_eth != kNoHeader)
        append(bytes,
               AtomicAckEth{be64{uint64_t{packet.extension<AtomicAckEth>(info.atomic_ack_eth).original}}});
    bytes.insert(bytes.end(), packet.payload, packet.payload + packet.payload_bytes);
    bytes.resize(bytes.size() + packet.pad_bytes);

    const uint32_t headers = icrc_header_state(packet.ip, packet.is_ipv6, packet.transport_header_bytes());
    const uint32_t state = crc32_raw(headers, packet.payload, packet.payload_bytes + packet.pad_bytes);
    bytes.resize(bytes.size() + kIcrcBytes);
    icrc_store(&bytes[bytes.size() - kIcrcBytes], state);
    return bytes;
}

// Runs decode on a heap buffer of exactly the frame's size: ASan sees whatever is read behind it. A packet
// that is accepted must lie within the frame.
void decode_within_bounds(const Frame& frame) {
    const std::unique_ptr<uint8_t[]> exact(new uint8_t[frame.size()]);
    std::copy(frame.begin(), frame.end(), exact.get());
    Packet packet{};
    const Decoded decoded = decode(exact.get(), static_cast<uint32_t>(frame.size()), packet);
    if (decoded.result == DecodeResult::drop) {
        BOOST_REQUIRE(decoded.reason != DropReason::none);
        return;
    }
    if (packet.info == nullptr) return;  // punted, not RoCE
    BOOST_REQUIRE(packet.ip > exact.get());
    BOOST_REQUIRE(reinterpret_cast<const uint8_t*>(packet.bth) > packet.ip);
    BOOST_REQUIRE(packet.icrc() + kIcrcBytes <= exact.get() + frame.size());
    icrc_ok(packet);
}

}  // namespace

BOOST_AUTO_TEST_CASE(captured_packets_encode_to_the_same_bytes) {
    unsigned packets = 0, punted_others = 0;
    for (const Frame& frame : test::read_all_captures()) {
        const Decoded decoded = run(frame);
        if (out_.info == nullptr || decoded.result == DecodeResult::drop) {
            if (decoded.result == DecodeResult::punt) ++punted_others;
            continue;
        }
        const Frame wire(reinterpret_cast<const uint8_t*>(out_.bth), out_.icrc() + kIcrcBytes);
        BOOST_TEST(encode_again(out_) == wire, out_.info->name);
        BOOST_TEST((decoded.result == DecodeResult::punt) == out_.info->has(kDatagram));
        ++packets;
    }
    BOOST_TEST(packets == 382U);
    BOOST_TEST(punted_others == 8U);  // two ARP, four router and two neighbour solicitations
}

BOOST_AUTO_TEST_CASE(fields_are_what_was_built) {
    for (const bool ipv6 : {false, true}) {
        for (const bool vlan : {false, true}) {
            const Frame frame =
                PacketBuilder(Opcode::rc_write_only).ipv6(ipv6).vlan(vlan).payload(13).build();
            expect(frame, DecodeResult::roce);
            BOOST_TEST(out_.is_ipv6 == ipv6);
            BOOST_TEST(out_.ip == frame.data() + (vlan ? 18 : 14));
            BOOST_TEST(out_.ip_header_bytes() == (ipv6 ? 40U : 20U));
            BOOST_TEST(reinterpret_cast<const uint8_t*>(out_.bth) == out_.ip + out_.ip_header_bytes() + 8);
            BOOST_TEST(out_.transport_header_bytes() == 28U);
            BOOST_TEST(out_.dest_qpn == PacketBuilder::kQpn);
            BOOST_TEST(out_.psn == PacketBuilder::kPsn);
            BOOST_TEST(out_.payload_bytes == 13U);
            BOOST_TEST(int{out_.pad_bytes} == 3);
            BOOST_TEST((out_.info == &kOpcodes[0x0a]));
            BOOST_TEST(out_.icrc() + kIcrcBytes == frame.data() + frame.size());
            BOOST_TEST(icrc_ok(out_));
        }
    }
}

BOOST_AUTO_TEST_CASE(every_opcode_decodes_with_its_least_and_with_a_full_payload) {
    for (unsigned code = 0; code < 256; ++code) {
        const OpcodeInfo& info = kOpcodes[code];
        if (!info.known() || info.has(kDatagram)) continue;
        BOOST_TEST_CONTEXT(info.name) {
            const auto opcode = static_cast<Opcode>(code);
            const uint32_t least = opcode == Opcode::cnp ? 16 : 0;
            expect(PacketBuilder(opcode).payload(least).build(), DecodeResult::roce);
            expect_drop(PacketBuilder(opcode).payload(least).transport_bytes_off_by(-4).build(),
                        DropReason::bth_length);
            const Frame full = PacketBuilder(opcode).payload(4096).build();
            if (info.has(kPayload) && opcode != Opcode::cnp)
                expect(full, DecodeResult::roce);
            else
                expect_drop(full, DropReason::bth_length);
        }
    }
}

BOOST_AUTO_TEST_CASE(ethernet_padding_behind_the_packet_is_ignored) {
    Frame frame = PacketBuilder(Opcode::rc_send_only).payload(1).build();
    frame.resize(frame.size() + 50, 0xee);
    expect(frame, DecodeResult::roce);
    BOOST_TEST(out_.payload_bytes == 1U);
    BOOST_TEST(icrc_ok(out_));
}

BOOST_AUTO_TEST_CASE(ethernet_and_arp) {
    expect_drop({}, DropReason::truncated);
    expect_drop(Frame(13), DropReason::truncated);
    expect_drop(Frame(14), DropReason::not_ip);
    Frame arp(42);
    arp[12] = 0x08, arp[13] = 0x06;
    expect(arp, DecodeResult::punt);
    Frame tag_only(17);
    tag_only[12] = 0x81, tag_only[13] = 0x00;
    expect_drop(tag_only, DropReason::truncated);
    Frame two_tags(60);
    two_tags[12] = two_tags[16] = 0x81;
    expect_drop(two_tags, DropReason::not_ip);
}

BOOST_AUTO_TEST_CASE(ipv4_header) {
    auto changed = [](const std::function<void(uint8_t*)>& change) {
        Frame frame = PacketBuilder(Opcode::rc_ack).build();
        change(&frame[14]);
        test::fix_ipv4_checksum(frame);
        return frame;
    };
    expect_drop(changed([](uint8_t* ip) { ip[0] = 0x65; }), DropReason::ip_header);
    expect_drop(changed([](uint8_t* ip) { ip[0] = 0x44; }), DropReason::ip_header);
    expect_drop(changed([](uint8_t* ip) { ip[3] = static_cast<uint8_t>(ip[3] + 1); }), DropReason::ip_length);
    expect_drop(changed([](uint8_t* ip) { ip[2] = 0xff; }), DropReason::ip_length);
    expect_drop(changed([](uint8_t* ip) { ip[2] = 0, ip[3] = 19; }), DropReason::ip_length);
    expect_drop(changed([](uint8_t* ip) { ip[3] = static_cast<uint8_t>(ip[3] - 1); }),
                DropReason::udp_length);
    expect_drop(changed([](uint8_t* ip) { ip[6] = 0x20; }), DropReason::ip_fragment);
    expect_drop(changed([](uint8_t* ip) { ip[7] = 0x01; }), DropReason::ip_fragment);
    expect_drop(changed([](uint8_t* ip) { ip[6] = 0x1f; }), DropReason::ip_fragment);
    expect(changed([](uint8_t* ip) { ip[6] = 0x40; }), DecodeResult::roce);
    expect(changed([](uint8_t* ip) { ip[1] = 0xb9; }), DecodeResult::roce);
    expect_drop(changed([](uint8_t* ip) { ip[9] = 6; }), DropReason::not_rocev2);
    expect(changed([](uint8_t* ip) { ip[9] = 1; }), DecodeResult::punt);
    BOOST_TEST(out_.info == nullptr);
}

BOOST_AUTO_TEST_CASE(each_bit_of_the_ipv4_header_is_guarded_by_its_checksum) {
    for (size_t bit = 0; bit < 160; ++bit) {
        Frame frame = PacketBuilder(Opcode::rc_ack).build();
        frame[14 + bit / 8] ^= static_cast<uint8_t>(1U << (bit % 8));
        BOOST_TEST((run(frame).result == DecodeResult::drop), "bit " << bit);
    }
}

BOOST_AUTO_TEST_CASE(ipv4_options) {
    expect_drop(PacketBuilder(Opcode::rc_ack).ipv4_options(4).build(), DropReason::ip_options);
    expect_drop(PacketBuilder(Opcode::rc_ack).ipv4_options(40).build(), DropReason::ip_options);
    expect_drop(PacketBuilder(Opcode::rc_ack).ipv4_options(8).udp_port(53).build(), DropReason::not_rocev2);
    Frame icmp = PacketBuilder(Opcode::rc_ack).ipv4_options(8).build();
    icmp[14 + 9] = 1;
    test::fix_ipv4_checksum(icmp);
    expect(icmp, DecodeResult::punt);
    Frame cut = PacketBuilder(Opcode::rc_ack).ipv4_options(40).build();
    cut.resize(14 + 59);
    expect_drop(cut, DropReason::truncated);
}

BOOST_AUTO_TEST_CASE(ipv6_header) {
    auto changed = [](const std::function<void(uint8_t*)>& change) {
        Frame frame = PacketBuilder(Opcode::rc_ack).ipv6(true).build();
        change(&frame[14]);
        return frame;
    };
    expect_drop(changed([](uint8_t* ip) { ip[0] = 0x40; }), DropReason::ip_header);
    expect_drop(changed([](uint8_t* ip) { ip[4] = 0xff; }), DropReason::ip_length);
    expect_drop(changed([](uint8_t* ip) { ip[5] = static_cast<uint8_t>(ip[5] + 1); }), DropReason::ip_length);
    expect_drop(changed([](uint8_t* ip) { ip[5] = static_cast<uint8_t>(ip[5] - 1); }),
                DropReason::udp_length);
    expect_drop(changed([](uint8_t* ip) { ip[4] = ip[5] = 0; }), DropReason::udp_length);
    expect_drop(changed([](uint8_t* ip) { ip[6] = 44; }), DropReason::ip_fragment);
    expect_drop(changed([](uint8_t* ip) { ip[6] = 6; }), DropReason::not_rocev2);
    expect_drop(changed([](uint8_t* ip) { ip[6] = 59; }), DropReason::not_rocev2);
    expect(changed([](uint8_t* ip) { ip[6] = 58; }), DecodeResult::punt);
    expect(changed([](uint8_t* ip) { ip[0] = 0x6f, ip[1] = ip[2] = ip[3] = 0xff; }), DecodeResult::roce);
}

BOOST_AUTO_TEST_CASE(ipv6_extension_headers) {
    const Frame hop_by_hop = {17, 0, 1, 4, 0, 0, 0, 0};
    const Frame destination = {17, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    const Frame both = {60, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0};
    expect_drop(PacketBuilder(Opcode::rc_ack).ipv6_extension(0, hop_by_hop).build(), DropReason::ip_options);
    expect_drop(PacketBuilder(Opcode::rc_ack).ipv6_extension(60, destination).build(),
                DropReason::ip_options);
    expect_drop(PacketBuilder(Opcode::rc_ack).ipv6_extension(0, both).build(), DropReason::ip_options);
    expect_drop(PacketBuilder(Opcode::rc_ack).ipv6_extension(0, hop_by_hop).udp_port(1).build(),
                DropReason::not_rocev2);
    const Frame fragment_behind = {44, 0, 1, 4, 0, 0, 0, 0};
    expect_drop(PacketBuilder(Opcode::rc_ack).ipv6_extension(0, fragment_behind).build(),
                DropReason::ip_fragment);
    const Frame too_long = {17, 255, 1, 4, 0, 0, 0, 0};
    expect_drop(PacketBuilder(Opcode::rc_ack).ipv6_extension(43, too_long).build(), DropReason::ip_length);
}

BOOST_AUTO_TEST_CASE(udp_header) {
    expect_drop(PacketBuilder(Opcode::rc_ack).udp_port(4790).build(), DropReason::not_rocev2);
    expect_drop(PacketBuilder(Opcode::rc_ack).udp_length_off_by(4).build(), DropReason::udp_length);
    expect_drop(PacketBuilder(Opcode::rc_ack).udp_length_off_by(-4).build(), DropReason::udp_length);
    for (size_t carried = 0; carried < 8; ++carried) {  // less than a UDP header
        Frame frame = PacketBuilder(Opcode::rc_ack).build();
        frame.resize(14 + 20 + carried);
        frame[16] = 0, frame[17] = static_cast<uint8_t>(20 + carried);
        test::fix_ipv4_checksum(frame);
        expect_drop(frame, DropReason::udp_length);
    }
}

BOOST_AUTO_TEST_CASE(bth_fields) {
    auto changed = [](const std::function<void(Bth&)>& change) {
        return PacketBuilder(Opcode::rc_send_only).payload(8).bth(change).build();
    };
    for (uint8_t version = 1; version < 16; ++version)
        expect_drop(changed([&](Bth& bth) { bth.flags = version; }), DropReason::bth_version);
    for (unsigned opcode = 0; opcode < 256; ++opcode)
        if (!kOpcodes[opcode].known())
            expect_drop(changed([&](Bth& bth) { bth.opcode = static_cast<uint8_t>(opcode); }),
                        DropReason::bth_opcode);
    for (const uint16_t pkey : std::initializer_list<uint16_t>{0, 1, 0x8000, 0xfffe, 0x7ffe, 0x8fff})
        expect_drop(changed([&](Bth& bth) { bth.pkey = pkey; }), DropReason::bth_pkey);
    expect(changed([](Bth& bth) { bth.pkey = 0x7fff; }), DecodeResult::roce);
    expect(changed([](Bth& bth) { bth.flags = 0xc0, bth.ecn = 0xff, bth.ack_request = 0xff; }),
           DecodeResult::roce);
    BOOST_TEST(out_.dest_qpn == PacketBuilder::kQpn);  // neighbouring bits are kept out of it
    BOOST_TEST(out_.psn == PacketBuilder::kPsn);
    expect_drop(PacketBuilder(Opcode::rc_send_only).transport_bytes_off_by(-1).build(),
                DropReason::bth_length);
}

BOOST_AUTO_TEST_CASE(pad_rules) {
    auto with = [](Opcode opcode, uint32_t payload_and_pad, unsigned pad) {
        return PacketBuilder(opcode)
            .payload(payload_and_pad)
            .unpadded()
            .bth([=](Bth& bth) { bth.flags = static_cast<uint8_t>(pad << 4); })
            .build();
    };
    for (unsigned pad = 0; pad < 4; ++pad) {
        expect(with(Opcode::rc_send_only, 4, pad), DecodeResult::roce);
        BOOST_TEST(out_.payload_bytes == 4 - pad);
        for (const uint32_t bytes : {1U, 2U, 3U, 5U, 4095U})
            expect_drop(with(Opcode::rc_send_only, bytes, pad), DropReason::bth_pad);
        if (pad == 0) continue;
        expect_drop(with(Opcode::rc_send_only, 0, pad), DropReason::bth_pad);
        expect_drop(with(Opcode::rc_ack, 0, pad), DropReason::bth_pad);
        expect_drop(with(Opcode::rc_read_request, 0, pad), DropReason::bth_pad);
    }
}

BOOST_AUTO_TEST_CASE(datagrams_go_to_qp1_or_nowhere) {
    auto to = [](Opcode opcode, uint32_t qpn) {
        return PacketBuilder(opcode).payload(256).bth([=](Bth& bth) { bth.dest_qpn = qpn; }).build();
    };
    const Frame to_cm = to(Opcode::ud_send_only, 1);
    expect(to_cm, DecodeResult::punt);
    BOOST_REQUIRE(out_.info != nullptr);
    BOOST_TEST(out_.payload_bytes == 256U);
    BOOST_TEST(out_.dest_qpn == 1U);
    BOOST_TEST(icrc_ok(out_));
    expect_drop(to(Opcode::ud_send_only, 0), DropReason::unknown_qpn);
    expect_drop(to(Opcode::ud_send_only, 17), DropReason::unknown_qpn);
    expect_drop(to(Opcode::ud_send_only_imm, 1), DropReason::unknown_qpn);
    expect(to(Opcode::rc_send_only, 1),
           DecodeResult::roce);  // no such RC queue pair: the engine's to find out
}

BOOST_AUTO_TEST_CASE(truncation_at_every_length_reads_nothing_behind_the_end) {
    std::vector<Frame> frames = {
        PacketBuilder(Opcode::rc_fetch_add).vlan(true).build(),
        PacketBuilder(Opcode::rc_write_only_imm).ipv6(true).vlan(true).payload(7).build(),
        PacketBuilder(Opcode::rc_ack).ipv4_options(40).build(),
        PacketBuilder(Opcode::rc_ack)
            .ipv6_extension(0, {60, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0})
            .build(),
        PacketBuilder(Opcode::ud_send_only).payload(256).bth([](Bth& bth) { bth.dest_qpn = 1; }).build(),
    };
    for (const Frame& frame : test::read_capture("rxe-rping.pcap"))
        frames.push_back(frame);
    for (const Frame& frame : frames) {
        for (size_t bytes = 0; bytes < frame.size(); ++bytes) {
            decode_within_bounds(Frame(frame.begin(), frame.begin() + static_cast<ptrdiff_t>(bytes)));
            // The same with the IP length, and then also the UDP length, claiming that this is all there is.
            decode_within_bounds(test::cut_consistently(frame, bytes, false));
            decode_within_bounds(test::cut_consistently(frame, bytes, true));
        }
    }
}

BOOST_AUTO_TEST_CASE(random_damage_reads_nothing_behind_the_end) {
    auto random = test::seeded_random();
    const std::vector<Frame> frames = test::read_capture("rxe-atomic.pcap");
    for (int round = 0; round < 200'000; ++round) {
        Frame frame = frames[random() % frames.size()];
        if ((random() & 1) != 0) frame.resize(random() % frame.size() + 1);
        for (uint64_t count = random() % 4; count != 0; --count)
            frame[random() % std::min<size_t>(frame.size(), 80)] = static_cast<uint8_t>(random());
        if ((random() & 1) != 0) test::fix_ipv4_checksum(frame);
        decode_within_bounds(frame);
    }
}

BOOST_AUTO_TEST_CASE(every_drop_reason_has_a_name_and_a_help_text) {
    for (unsigned reason = 0; reason < kDropReasonCount; ++reason) {
        BOOST_TEST(std::strlen(drop_reason_name(static_cast<DropReason>(reason))) > 0U);
        BOOST_TEST(std::strlen(drop_reason_help(static_cast<DropReason>(reason))) > 0U);
    }
    BOOST_TEST(drop_reason_name(DropReason::bth_pad) == std::string("bth_pad"));
}
