// SPDX-License-Identifier: BSD-3-Clause
// The opcode table against the header lists of IBA table 35, written down here a second time.
#define BOOST_TEST_MODULE opcode
#include "datapath/roce/opcode.h"

#include <boost/test/unit_test.hpp>
#include <map>
#include <string>
#include <vector>

#include "datapath/roce/headers.h"

using namespace lagan::roce;

namespace {

enum Header { kReth, kAeth, kAtomicEth, kAtomicAckEth, kImmDt, kIeth, kDeth };
using Headers = std::vector<Header>;

const std::map<uint8_t, std::pair<std::string, Headers>> kExpected = {
    {0x00, {"SEND_FIRST", {}}},
    {0x01, {"SEND_MIDDLE", {}}},
    {0x02, {"SEND_LAST", {}}},
    {0x03, {"SEND_LAST_IMM", {kImmDt}}},
    {0x04, {"SEND_ONLY", {}}},
    {0x05, {"SEND_ONLY_IMM", {kImmDt}}},
    {0x06, {"WRITE_FIRST", {kReth}}},
    {0x07, {"WRITE_MIDDLE", {}}},
    {0x08, {"WRITE_LAST", {}}},
    {0x09, {"WRITE_LAST_IMM", {kImmDt}}},
    {0x0a, {"WRITE_ONLY", {kReth}}},
    {0x0b, {"WRITE_ONLY_IMM", {kReth, kImmDt}}},
    {0x0c, {"READ_REQUEST", {kReth}}},
    {0x0d, {"READ_RESPONSE_FIRST", {kAeth}}},
    {0x0e, {"READ_RESPONSE_MIDDLE", {}}},
    {0x0f, {"READ_RESPONSE_LAST", {kAeth}}},
    {0x10, {"READ_RESPONSE_ONLY", {kAeth}}},
    {0x11, {"ACK", {kAeth}}},
    {0x12, {"ATOMIC_ACK", {kAeth, kAtomicAckEth}}},
    {0x13, {"COMPARE_SWAP", {kAtomicEth}}},
    {0x14, {"FETCH_ADD", {kAtomicEth}}},
    {0x16, {"SEND_LAST_INV", {kIeth}}},
    {0x17, {"SEND_ONLY_INV", {kIeth}}},
    {0x64, {"UD_SEND_ONLY", {kDeth}}},
    {0x65, {"UD_SEND_ONLY_IMM", {kDeth, kImmDt}}},
    {0x81, {"CNP", {}}},
};

size_t size_of(Header header) {
    switch (header) {
        case kReth:
            return sizeof(Reth);
        case kAeth:
            return sizeof(Aeth);
        case kAtomicEth:
            return sizeof(AtomicEth);
        case kAtomicAckEth:
            return sizeof(AtomicAckEth);
        case kImmDt:
            return sizeof(ImmDt);
        case kIeth:
            return sizeof(Ieth);
        case kDeth:
            return sizeof(Deth);
    }
    return 0;
}

uint8_t offset_of(const OpcodeInfo& info, Header header) {
    switch (header) {
        case kReth:
            return info.reth;
        case kAeth:
            return info.aeth;
        case kAtomicEth:
            return info.atomic_eth;
        case kAtomicAckEth:
            return info.atomic_ack_eth;
        case kImmDt:
            return info.immdt;
        case kIeth:
            return info.ieth;
        case kDeth:
            return info.deth;
    }
    return kNoHeader;
}

bool named(const OpcodeInfo& info, const char* part) {
    return std::string(info.name).find(part) != std::string::npos;
}

}  // namespace

BOOST_AUTO_TEST_CASE(exactly_the_listed_opcodes_are_known) {
    for (unsigned opcode = 0; opcode < 256; ++opcode)
        BOOST_TEST(kOpcodes[opcode].known() == kExpected.contains(static_cast<uint8_t>(opcode)),
                   "opcode " << opcode);
}

BOOST_AUTO_TEST_CASE(headers_follow_each_other_in_order_without_gaps) {
    for (const auto& [opcode, expected] : kExpected) {
        const OpcodeInfo& info = kOpcodes[opcode];
        BOOST_TEST(std::string(info.name) == expected.first);
        size_t offset = 0;
        unsigned present = 0;
        for (const Header header : expected.second) {
            BOOST_TEST(size_t{offset_of(info, header)} == offset, expected.first);
            offset += size_of(header);
            ++present;
        }
        BOOST_TEST(size_t{info.extension_bytes} == offset, expected.first);
        for (const Header header : {kReth, kAeth, kAtomicEth, kAtomicAckEth, kImmDt, kIeth, kDeth})
            if (offset_of(info, header) != kNoHeader) present -= 1;
        BOOST_TEST(present == 0U, expected.first);
    }
}

BOOST_AUTO_TEST_CASE(flags_say_what_the_name_says) {
    for (const auto& [opcode, expected] : kExpected) {
        const OpcodeInfo& info = kOpcodes[opcode];
        BOOST_TEST_CONTEXT(expected.first) {
            const bool cnp = named(info, "CNP");
            const bool response = named(info, "RESPONSE") || named(info, "ACK");
            const bool single = !named(info, "FIRST") && !named(info, "MIDDLE") && !named(info, "LAST");
            BOOST_TEST(info.has(kResponse) == response);
            BOOST_TEST(info.has(kRequest) == (!response && !cnp));
            BOOST_TEST(info.has(kFirst) == (!cnp && (named(info, "FIRST") || single)));
            BOOST_TEST(info.has(kLast) == (!cnp && (named(info, "LAST") || single)));
            BOOST_TEST(info.has(kSend) == named(info, "SEND"));
            BOOST_TEST(info.has(kWrite) == named(info, "WRITE"));
            BOOST_TEST(info.has(kRead) == named(info, "READ"));
            BOOST_TEST(info.has(kAtomic) ==
                       (named(info, "ATOMIC") || named(info, "SWAP") || named(info, "ADD")));
            BOOST_TEST(info.has(kAck) == (expected.first == "ACK"));
            BOOST_TEST(info.has(kDatagram) == named(info, "UD_"));
            BOOST_TEST(info.has(kCnp) == cnp);
            const bool payload =
                named(info, "SEND") || named(info, "WRITE") || named(info, "RESPONSE") || cnp;
            BOOST_TEST(info.has(kPayload) == payload);
        }
    }
}

BOOST_AUTO_TEST_CASE(has_wants_all_of_several_flags) {
    const OpcodeInfo& only = kOpcodes[0x04];
    BOOST_TEST(only.has(kFirst | kLast));
    BOOST_TEST(!kOpcodes[0x00].has(kFirst | kLast));
}
