// SPDX-License-Identifier: BSD-3-Clause
// CM messages: captures of Linux's CM back to the same bytes, each field where IBA chapter 12 has it.
#define BOOST_TEST_MODULE cm_mad
#include "datapath/roce/cm_mad.h"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <set>
#include <string>

#include "datapath/roce/decode.h"
#include "tests/unit/logged_seed.h"
#include "tests/unit/pcap_reader.h"

using namespace lagan;
using namespace lagan::roce;

namespace {

std::vector<Mad> captured_mads(const std::vector<test::Frame>& frames) {
    std::vector<Mad> mads;
    for (const test::Frame& frame : frames) {
        Packet packet{};
        decode(frame.data(), static_cast<uint32_t>(frame.size()), packet);
        if (packet.info == nullptr || !packet.info->has(kDatagram)) continue;
        BOOST_REQUIRE_EQUAL(packet.payload_bytes, kMadBytes);
        std::copy_n(packet.payload, kMadBytes, mads.emplace_back().begin());
    }
    return mads;
}

template <typename Message>
Message first_captured(const std::string& capture) {
    for (const Mad& mad : captured_mads(test::read_capture(capture))) {
        const auto message = decode_cm_mad(mad);
        if (message && std::holds_alternative<Message>(message->body))
            return std::get<Message>(message->body);
    }
    throw std::runtime_error("no such message in " + capture);
}

template <typename Message>
Message decoded_as(const Mad& mad) {
    const auto message = decode_cm_mad(mad);
    BOOST_REQUIRE(message.has_value());
    BOOST_REQUIRE(std::holds_alternative<Message>(message->body));
    return std::get<Message>(message->body);
}

// A MAD with this attribute and nothing but zeros in the body, to put bytes into.
struct RawMad {
    Mad bytes{1, 7, 2, 3};
    explicit RawMad(uint8_t attribute) { bytes[17] = attribute; }
    uint8_t& body(size_t offset) { return bytes[24 + offset]; }
};

}  // namespace

BOOST_AUTO_TEST_CASE(captured_mads_encode_to_the_same_bytes) {
    std::set<size_t> kinds;
    unsigned count = 0;
    for (const Mad& mad : captured_mads(test::read_all_captures())) {
        const auto message = decode_cm_mad(mad);
        BOOST_REQUIRE(message.has_value());
        BOOST_TEST(encode_cm_mad(*message) == mad);
        kinds.insert(message->body.index());
        ++count;
    }
    BOOST_TEST(count == 17U);
    BOOST_TEST(kinds.size() == 5U);  // REQ, REP, RTU, DREQ, DREP
}

BOOST_AUTO_TEST_CASE(captured_request) {
    const auto request = first_captured<CmRequest>("rxe-rping.pcap");
    BOOST_TEST(request.local_comm_id == 0x3a0215c0U);
    BOOST_TEST((port_of_service_id(request.service_id) == 7174));
    BOOST_TEST(request.ca_guid == 0x505400fffe000002U);
    BOOST_TEST(request.local_qpn == 0x11U);
    BOOST_TEST(int{request.responder_resources} == 1);
    BOOST_TEST(int{request.initiator_depth} == 1);
    BOOST_TEST(int{request.remote_cm_response_timeout} == 20);
    BOOST_TEST(int{request.local_cm_response_timeout} == 20);
    BOOST_TEST(request.starting_psn == 0x6f5a9cU);
    BOOST_TEST(int{request.retry_count} == 7);
    BOOST_TEST(int{request.rnr_retry} == 7);
    BOOST_TEST(request.pkey == 0xffff);
    BOOST_TEST((mtu_bytes_of_code(request.path_mtu_code) == 4096));
    BOOST_TEST(int{request.max_cm_retries} == 15);
    BOOST_TEST(!request.srq);
    BOOST_TEST((request.primary.local_gid == net::IpAddress::parse("10.9.0.2")));
    BOOST_TEST((request.primary.remote_gid == net::IpAddress::parse("10.9.0.1")));
    BOOST_TEST(request.primary.local_lid == 0xffff);
    BOOST_TEST(request.primary.flow_label == 0x3548cU);
    BOOST_TEST(int{request.primary.hop_limit} == 64);
    BOOST_TEST(int{request.primary.local_ack_timeout} == 19);
    const auto ip_cm = decode_ip_cm_header(request.private_data);
    BOOST_REQUIRE(ip_cm.has_value());
    BOOST_TEST(ip_cm->source_port == 0x9eba);
    BOOST_TEST((ip_cm->source == net::IpAddress::parse("10.9.0.2")));
    BOOST_TEST((ip_cm->destination == net::IpAddress::parse("10.9.0.1")));
    const auto encoded = encode_ip_cm_header(*ip_cm);
    BOOST_TEST(std::equal(encoded.begin(), encoded.end(), request.private_data.begin()));
}

// So that a message made from scratch is one that Linux would have sent.
BOOST_AUTO_TEST_CASE(the_defaults_are_those_of_the_captured_request) {
    const auto captured = first_captured<CmRequest>("rxe-rping.pcap");
    CmRequest made;
    made.local_comm_id = captured.local_comm_id;
    made.service_id = service_id_of_port(7174);
    made.ca_guid = captured.ca_guid;
    made.local_qpn = 0x11;
    made.responder_resources = made.initiator_depth = 1;
    made.starting_psn = captured.starting_psn;
    made.primary.local_gid = net::IpAddress::parse("10.9.0.2");
    made.primary.remote_gid = net::IpAddress::parse("10.9.0.1");
    made.primary.flow_label = captured.primary.flow_label;
    made.private_data = captured.private_data;
    BOOST_TEST(encode_cm_mad({1, made}) == encode_cm_mad({1, captured}));
}

BOOST_AUTO_TEST_CASE(captured_reply_and_its_defaults) {
    const auto reply = first_captured<CmReply>("rxe-rping.pcap");
    BOOST_TEST(reply.local_comm_id == 0x82dd8d9bU);
    BOOST_TEST(reply.remote_comm_id == 0x3a0215c0U);
    BOOST_TEST(reply.local_qpn == 0x11U);
    BOOST_TEST(reply.starting_psn == 0xfe193aU);
    BOOST_TEST(int{reply.responder_resources} == 1);
    BOOST_TEST(int{reply.initiator_depth} == 1);
    BOOST_TEST(reply.ca_guid == 0x505400fffe000001U);
    CmReply made;
    made.local_comm_id = 0x82dd8d9b;
    made.remote_comm_id = 0x3a0215c0;
    made.local_qpn = 0x11;
    made.starting_psn = 0xfe193a;
    made.responder_resources = made.initiator_depth = 1;
    made.ca_guid = 0x505400fffe000001;
    BOOST_TEST(encode_cm_mad({2, made}) == encode_cm_mad({2, reply}));
}

BOOST_AUTO_TEST_CASE(captured_disconnect) {
    const auto request = first_captured<CmDisconnectRequest>("rxe-rping.pcap");
    BOOST_TEST(request.local_comm_id == 0x3a0215c0U);
    BOOST_TEST(request.remote_comm_id == 0x82dd8d9bU);
    BOOST_TEST(request.remote_qpn == 0x11U);
    const auto reply = first_captured<CmDisconnectReply>("rxe-rping.pcap");
    BOOST_TEST(reply.remote_comm_id == 0x3a0215c0U);
}

// Not in the captures. tshark 4.0 reads the same values out of the REJ's bytes; it has no dissector for the
// MRA.
BOOST_AUTO_TEST_CASE(reject_and_receipt_acknowledgement_bytes) {
    RawMad reject(0x12);
    reject.body(3) = 0x11, reject.body(7) = 0x22;
    reject.body(8) = 1 << 6;
    reject.body(9) = 72 << 1;
    reject.body(11) = 28;
    reject.body(12) = 0xa1, reject.body(83) = 0xa2;
    reject.body(84) = 0xd1, reject.body(231) = 0xd2;
    const auto decoded = decoded_as<CmReject>(reject.bytes);
    BOOST_TEST(decoded.local_comm_id == 0x11U);
    BOOST_TEST(decoded.remote_comm_id == 0x22U);
    BOOST_TEST((decoded.subject == CmSubject::reply));
    BOOST_TEST(int{decoded.info_bytes} == 72);
    BOOST_TEST((decoded.reason == RejectReason::consumer_defined));
    BOOST_TEST((decoded.info.front() == 0xa1 && decoded.info.back() == 0xa2));
    BOOST_TEST((decoded.private_data.front() == 0xd1 && decoded.private_data.back() == 0xd2));
    BOOST_TEST(encode_cm_mad({0, decoded}) == reject.bytes);

    RawMad receipt(0x11);
    receipt.body(8) = 1 << 6;
    receipt.body(9) = 21 << 3;
    receipt.body(10) = 0xd1, receipt.body(231) = 0xd2;
    const auto ack = decoded_as<CmReceiptAck>(receipt.bytes);
    BOOST_TEST((ack.subject == CmSubject::reply));
    BOOST_TEST(int{ack.service_timeout} == 21);
    BOOST_TEST((ack.private_data.front() == 0xd1 && ack.private_data.back() == 0xd2));
    BOOST_TEST(encode_cm_mad({0, ack}) == receipt.bytes);
}

BOOST_AUTO_TEST_CASE(request_bit_fields_do_not_overlap) {
    CmRequest zero;
    zero.remote_cm_response_timeout = zero.local_cm_response_timeout = zero.retry_count = 0;
    zero.path_mtu_code = zero.rnr_retry = zero.max_cm_retries = 0;
    zero.pkey = 0;
    zero.primary = {};
    const auto bits_set = [](const CmRequest& request) {
        const Mad mad = encode_cm_mad({0, request});
        int bits = 0;
        for (size_t i = 24; i < mad.size(); ++i)
            bits += __builtin_popcount(mad[i]);
        return bits;
    };
    BOOST_TEST(bits_set(zero) == 0);
    CmRequest ones = zero;  // every field wider than its place on the wire
    ones.local_qpn = ones.starting_psn = 0xffffffff;
    ones.remote_cm_response_timeout = ones.transport_service = ones.local_cm_response_timeout = 0xff;
    ones.retry_count = ones.path_mtu_code = ones.rnr_retry = ones.max_cm_retries = ones.extended_transport =
        0xff;
    ones.flow_control = ones.rdc_exists = ones.srq = true;
    ones.primary.flow_label = 0xffffffff;
    ones.primary.packet_rate = ones.primary.service_level = ones.primary.local_ack_timeout = 0xff;
    ones.primary.subnet_local = true;
    BOOST_TEST(bits_set(ones) ==
               24 + 24 + (5 + 2 + 1) + (5 + 3) + (4 + 1 + 3) + (4 + 1 + 3) + 20 + 6 + 4 + 1 + 5);
    BOOST_TEST(encode_cm_mad({0, decoded_as<CmRequest>(encode_cm_mad({0, ones}))}) ==
               encode_cm_mad({0, ones}));
}

BOOST_AUTO_TEST_CASE(random_bodies_come_back_once_reserved_bits_are_gone) {
    auto random = test::seeded_random();
    for (int round = 0; round < 20'000; ++round) {
        RawMad raw(static_cast<uint8_t>(0x10 + round % 7));
        for (size_t i = 8; i < 16; ++i)
            raw.bytes[i] = static_cast<uint8_t>(random());
        for (size_t i = 0; i < 232; ++i)
            raw.body(i) = static_cast<uint8_t>(random());
        const auto message = decode_cm_mad(raw.bytes);
        BOOST_REQUIRE(message.has_value());
        const Mad cleaned = encode_cm_mad(*message);
        BOOST_REQUIRE(std::equal(cleaned.begin(), cleaned.begin() + 24, raw.bytes.begin()));
        for (size_t i = 0; i < cleaned.size(); ++i)
            BOOST_REQUIRE((cleaned[i] & ~raw.bytes[i]) == 0);  // nothing invented
        BOOST_REQUIRE(encode_cm_mad(*decode_cm_mad(cleaned)) == cleaned);
    }
}

BOOST_AUTO_TEST_CASE(what_is_not_a_cm_message_is_refused) {
    const RawMad good(0x14);
    BOOST_TEST(decode_cm_mad(good.bytes).has_value());
    for (size_t bytes = 0; bytes <= 300; ++bytes) {
        std::vector<uint8_t> resized(good.bytes.begin(), good.bytes.end());
        resized.resize(bytes);
        BOOST_TEST(decode_cm_mad(resized).has_value() == (bytes == kMadBytes));
    }
    for (size_t offset = 0; offset < 4; ++offset) {  // base version, class, class version, method
        for (unsigned value = 0; value < 256; ++value) {
            RawMad bad = good;
            bad.bytes[offset] = static_cast<uint8_t>(value);
            BOOST_TEST(decode_cm_mad(bad.bytes).has_value() == (value == good.bytes[offset]));
        }
    }
    for (unsigned attribute = 0; attribute < 0x10000; ++attribute) {
        RawMad any(static_cast<uint8_t>(attribute));
        any.bytes[16] = static_cast<uint8_t>(attribute >> 8);
        BOOST_REQUIRE_EQUAL(decode_cm_mad(any.bytes).has_value(), attribute >= 0x10 && attribute <= 0x16);
    }
}

BOOST_AUTO_TEST_CASE(ip_cm_header_of_ipv6) {
    const IpCmHeader header = {0x1234, net::IpAddress::parse("fd00::1"), net::IpAddress::parse("fd00::2")};
    const auto bytes = encode_ip_cm_header(header);
    BOOST_TEST(int{bytes[1]} == 0x60);
    BOOST_TEST((bytes[4] == 0xfd && bytes[19] == 1 && bytes[20] == 0xfd && bytes[35] == 2));
    const auto decoded = decode_ip_cm_header(bytes);
    BOOST_REQUIRE(decoded.has_value());
    BOOST_TEST((decoded->source == header.source));
    BOOST_TEST((decoded->destination == header.destination));
    BOOST_TEST(decoded->source_port == 0x1234);
}

BOOST_AUTO_TEST_CASE(bad_ip_cm_headers_are_refused) {
    const auto good =
        encode_ip_cm_header({1, net::IpAddress::parse("10.0.0.1"), net::IpAddress::parse("10.0.0.2")});
    for (size_t bytes = 0; bytes < good.size(); ++bytes)
        BOOST_TEST(!decode_ip_cm_header(
            std::vector<uint8_t>(good.begin(), good.begin() + static_cast<ptrdiff_t>(bytes))));
    for (unsigned value = 1; value < 256; ++value) {
        auto version = good;
        version[0] = static_cast<uint8_t>(value);
        BOOST_TEST(!decode_ip_cm_header(version));
        auto family = good;
        family[1] = static_cast<uint8_t>(value);
        BOOST_TEST(decode_ip_cm_header(family).has_value() == (value >> 4 == 4 || value >> 4 == 6));
    }
}

BOOST_AUTO_TEST_CASE(service_ids_and_mtu_codes) {
    BOOST_TEST(service_id_of_port(7174) == 0x0000000001061c06U);
    BOOST_TEST((port_of_service_id(0x000000000106ffff) == 65535));
    BOOST_TEST(!port_of_service_id(0x0000000001111c06).has_value());  // RDMA_PS_UDP
    BOOST_TEST(!port_of_service_id(0x0000000101061c06).has_value());
    BOOST_TEST((mtu_bytes_of_code(1) == 256 && mtu_bytes_of_code(3) == 1024));
    BOOST_TEST((!mtu_bytes_of_code(0) && !mtu_bytes_of_code(6) && !mtu_bytes_of_code(255)));
    BOOST_TEST(
        (mtu_code_of_bytes(4096) == 5 && mtu_code_of_bytes(9000) == 5 && mtu_code_of_bytes(4095) == 4));
    BOOST_TEST((mtu_code_of_bytes(256) == 1 && !mtu_code_of_bytes(255)));
}

BOOST_AUTO_TEST_CASE(reject_reason_names) {
    BOOST_TEST(reject_reason_name(RejectReason::stale_connection) == std::string("stale_connection"));
    BOOST_TEST(static_cast<int>(RejectReason::consumer_defined) == 28);
    BOOST_TEST(reject_reason_name(static_cast<RejectReason>(0)) == std::string("unknown"));
    BOOST_TEST(reject_reason_name(static_cast<RejectReason>(999)) == std::string("unknown"));
}
