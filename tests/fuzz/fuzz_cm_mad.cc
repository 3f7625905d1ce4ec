// SPDX-License-Identifier: BSD-3-Clause
// Any bytes as a CM message: what is understood is said again in the same words.
#include <cstring>

#include "datapath/roce/cm_mad.h"
#include "datapath/roce/decode.h"
#include "tests/fuzz/target.h"
#include "tests/unit/pcap_reader.h"

using namespace lagan;
using lagan::test::check;

static uint64_t understood = 0;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const auto message = roce::decode_cm_mad({data, size});
    roce::decode_ip_cm_header({data, size});
    if (!message) return 0;
    understood++;
    check(size == std::tuple_size_v<roce::Mad>, "a message has 256 bytes");
    const roce::Mad encoded = roce::encode_cm_mad(*message);
    const auto again = roce::decode_cm_mad(encoded);
    check(again.has_value(), "what we say is understood");
    const roce::Mad twice = roce::encode_cm_mad(*again);
    check(std::memcmp(encoded.data(), twice.data(), encoded.size()) == 0, "and said again in the same words");
    return 0;
}

std::vector<lagan::test::Input> lagan::test::fuzz_seeds() {
    std::vector<Input> seeds;
    for (const Frame& frame : read_all_captures()) {
        roce::Packet packet{};
        const auto decoded = roce::decode(frame.data(), static_cast<uint32_t>(frame.size()), packet);
        if (decoded.result == roce::DecodeResult::punt && packet.info != nullptr &&
            packet.info->has(roce::kDatagram))
            seeds.emplace_back(packet.payload, packet.payload + packet.payload_bytes);
    }
    return seeds;
}

std::string lagan::test::fuzz_summary() {
    return std::to_string(understood) + " understood";
}
