// SPDX-License-Identifier: BSD-3-Clause
// Any bytes as a received frame: whatever decode() accepts lies within the frame.
#include "datapath/roce/decode.h"
#include "datapath/roce/icrc.h"
#include "tests/fuzz/target.h"
#include "tests/unit/pcap_reader.h"

using namespace lagan;
using lagan::test::check;

static uint64_t accepted = 0, right = 0;

static void check_packet(const roce::Packet& packet, const uint8_t* data, size_t size) {
    check(packet.info != nullptr && packet.info->known(), "an accepted opcode is a known one");
    check(packet.ip >= data + 14 && packet.ip < data + size, "the IP header lies within the frame");
    check(packet.payload >= packet.ip + packet.ip_header_bytes() + 8 + 12,
          "the payload comes behind the headers");
    check(packet.icrc() + roce::kIcrcBytes <= data + size, "the ICRC lies within the frame");
    check(packet.pad_bytes < 4 && (packet.payload_bytes + packet.pad_bytes) % 4 == 0,
          "payload and pad are whole words");
    check(packet.transport_header_bytes() <= roce::kMaxTransportHeaderBytes,
          "the headers are those of the opcode");
    check(packet.info->has(roce::kPayload) || packet.payload_bytes == 0,
          "payload only where the opcode has one");
    accepted++;
    right += roce::icrc_ok(packet);  // reads all of it
    const uint32_t headers =
        roce::icrc_header_state(packet.ip, packet.is_ipv6, packet.transport_header_bytes());
    check(headers ==
              roce::icrc_header_state_portable(packet.ip, packet.is_ipv6, packet.transport_header_bytes()),
          "both ways to the ICRC of the headers agree");
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size > 9000) return 0;
    roce::Packet packet{};
    const roce::Decoded decoded = roce::decode(data, static_cast<uint32_t>(size), packet);
    const bool dropped = decoded.result == roce::DecodeResult::drop;
    check(dropped == (decoded.reason != DropReason::none), "a drop has a reason, and nothing else has");
    if (decoded.result == roce::DecodeResult::roce) check_packet(packet, data, size);
    return 0;
}

std::vector<lagan::test::Input> lagan::test::fuzz_seeds() {
    return read_all_captures();
}

std::string lagan::test::fuzz_summary() {
    return std::to_string(accepted) + " accepted, " + std::to_string(right) + " with a right ICRC";
}
