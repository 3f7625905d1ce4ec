// SPDX-License-Identifier: BSD-3-Clause
// A server with one region and a peer that builds its packets by hand.
#pragma once

#include <boost/test/unit_test.hpp>

#include "tests/protocol/model.h"
#include "tests/support/raw_peer.h"

namespace lagan::roce {

inline std::ostream& operator<<(std::ostream& out, Opcode opcode) {
    return out << kOpcodes[static_cast<uint8_t>(opcode)].name;
}

}  // namespace lagan::roce

namespace lagan::test {

inline constexpr uint8_t kSequenceNak = 0x60, kInvalid = 0x61, kAccess = 0x62, kOperation = 0x63;

struct PeerFixture {
    // No timers: the server's own messages are not repeated.
    explicit PeerFixture(LoopbackOptions options = {}, uint64_t region_bytes = 16 << 20, uint64_t reserve = 0,
                         bool overcommit = false)
        : link((options.ack_timeout = 0, options)),
          region(link.make_region("r", region_bytes, reserve, overcommit)),
          peer(link, region) {}

    // Exactly one ACK or NAK.
    void expect(const std::vector<Answer>& answers, uint8_t syndrome, uint32_t psn, uint32_t msn) const {
        BOOST_REQUIRE_EQUAL(answers.size(), 1U);
        BOOST_TEST(answers[0].opcode == roce::Opcode::rc_ack);
        BOOST_TEST(int(answers[0].syndrome) == int(syndrome));
        BOOST_TEST(answers[0].psn == psn);
        BOOST_TEST(answers[0].msn == msn);
    }
    void expect_ack(const std::vector<Answer>& answers, uint32_t psn, uint32_t msn) const {
        expect(answers, roce::kAckNoCredits, psn, msn);
    }
    void expect_silence(const std::vector<Answer>& answers) const { BOOST_TEST(answers.size() == 0U); }

    Bytes memory(uint64_t offset, size_t bytes) {
        const Bytes all = memory_of(region, *link.frames);
        return {all.begin() + static_cast<ptrdiff_t>(offset),
                all.begin() + static_cast<ptrdiff_t>(offset + bytes)};
    }
    const Qp& qp() const { return peer.qp; }
    const Counters& counters() const { return link.server->counters; }

    Loopback link;
    memory::Region& region;
    RawPeer peer;
};

// Differs from page to page and from seed to seed, and is nowhere zero.
inline Bytes pattern(size_t bytes, uint8_t seed) {
    Bytes result(bytes);
    for (size_t i = 0; i < bytes; i++)
        result[i] = static_cast<uint8_t>(1 + (seed + i * 7 + i / 256) % 255);
    return result;
}

}  // namespace lagan::test
