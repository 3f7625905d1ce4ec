// SPDX-License-Identifier: BSD-3-Clause
// Scapy as an independent witness: it built and summed a packet of every opcode
// (tests/data/make_scapy_corpus.py), and we read in each what it says there, ICRC included.
#define BOOST_TEST_MODULE scapy_corpus_protocol
#include <boost/test/unit_test.hpp>

#include "datapath/roce/aeth.h"
#include "datapath/roce/icrc.h"
#include "tests/unit/pcap_reader.h"

using namespace lagan;
using roce::Packet;

static void check_headers(const Packet& packet, uint32_t number) {
    const roce::OpcodeInfo& info = *packet.info;
    if (info.reth != roce::kNoHeader) {
        const auto& reth = packet.extension<roce::Reth>(info.reth);
        BOOST_TEST(reth.va == 0x0123456789000000 + number);
        BOOST_TEST(reth.rkey == 0xabcd0000 + number);
        BOOST_TEST(reth.length == packet.payload_bytes);
    }
    if (info.immdt != roce::kNoHeader)
        BOOST_TEST(packet.extension<roce::ImmDt>(info.immdt).data == 0x1dd00000 + number);
    if (info.ieth != roce::kNoHeader)
        BOOST_TEST(packet.extension<roce::Ieth>(info.ieth).rkey == 0x1e000000 + number);
    if (info.aeth != roce::kNoHeader) {
        BOOST_TEST(int(packet.extension<roce::Aeth>(info.aeth).syndrome) == 0x1f);
        BOOST_TEST(packet.extension<roce::Aeth>(info.aeth).msn == number);
    }
    if (info.atomic_eth != roce::kNoHeader) {
        const auto& atomic = packet.extension<roce::AtomicEth>(info.atomic_eth);
        BOOST_TEST(atomic.va == 0x0123456789000000 + number);
        BOOST_TEST(atomic.swap_or_add == 0x5a5a000000000000 + number);
        BOOST_TEST(atomic.compare == 0xc0c0000000000000 + number);
    }
    if (info.atomic_ack_eth != roce::kNoHeader)
        BOOST_TEST(packet.extension<roce::AtomicAckEth>(info.atomic_ack_eth).original ==
                   0x0ac0000000000000 + number);
    if (info.deth != roce::kNoHeader) {
        BOOST_TEST(packet.extension<roce::Deth>(info.deth).qkey == roce::kGsiQkey);
        BOOST_TEST(packet.extension<roce::Deth>(info.deth).src_qpn == 0x100000 + number);
    }
}

BOOST_AUTO_TEST_CASE(we_read_what_scapy_says) {
    const auto frames = test::read_capture("scapy-roce.pcap");
    BOOST_TEST(frames.size() == 352U);
    std::array<unsigned, 256> seen{};
    for (uint32_t number = 0; number < frames.size(); number++) {
        BOOST_TEST_CONTEXT("packet " << number) {
            Packet packet{};
            const auto& frame = frames[number];
            const auto decoded = roce::decode(frame.data(), static_cast<uint32_t>(frame.size()), packet);
            const bool datagram = packet.info != nullptr && packet.info->has(roce::kDatagram);
            BOOST_REQUIRE(
                (decoded.result == (datagram ? roce::DecodeResult::punt : roce::DecodeResult::roce)));
            BOOST_TEST(roce::icrc_ok(packet));
            BOOST_TEST(packet.psn == number);
            BOOST_TEST(packet.dest_qpn == (datagram ? 1 : 0x200000 + number));
            BOOST_TEST(packet.is_ipv6 == (number >= frames.size() / 2));
            BOOST_TEST(packet.bth->solicited() == (number & 1));
            BOOST_TEST(packet.bth->ack_requested() == (number >> 3 & 1));
            check_headers(packet, number);
            for (uint32_t i = 0; i < packet.payload_bytes; i++)
                BOOST_REQUIRE(packet.payload[i] == static_cast<uint8_t>(number + i));
            seen[packet.opcode]++;
        }
    }
    for (size_t opcode = 0; opcode < seen.size(); opcode++)
        BOOST_TEST(
            (seen[opcode] != 0) == (roce::kOpcodes[opcode].known() && opcode != 0x65 && opcode != 0x81),
            "opcode " << opcode);
}

BOOST_AUTO_TEST_CASE(one_wrong_bit_anywhere_is_seen) {
    const auto frames = test::read_capture("scapy-roce.pcap");
    for (size_t number = 0; number < frames.size(); number += 13) {
        auto frame = frames[number];
        Packet packet{};
        roce::decode(frame.data(), static_cast<uint32_t>(frame.size()), packet);
        const auto* end = packet.icrc() + roce::kIcrcBytes;
        auto* bth = reinterpret_cast<uint8_t*>(const_cast<roce::Bth*>(packet.bth));
        for (uint8_t* byte = bth; byte != end; byte++) {
            if (byte == bth + 4) continue;  // FECN and BECN: routers change them
            *byte ^= 0x10;
            BOOST_REQUIRE(!roce::icrc_ok(packet));
            *byte ^= 0x10;
        }
        bth[4] ^= 0x10;
        BOOST_TEST(roce::icrc_ok(packet));
    }
}
