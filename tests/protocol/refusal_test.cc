// SPDX-License-Identifier: BSD-3-Clause
// Requests that are answered with a NAK and end their connection, and what they leave behind: nothing.
#define BOOST_TEST_MODULE refusal_protocol
#include <boost/test/data/test_case.hpp>

#include "tests/protocol/peer_fixture.h"

using namespace lagan;
using namespace lagan::test;
using roce::Opcode;
namespace data = boost::unit_test::data;

namespace {

constexpr uint64_t kRegionBytes = 16 << 20;
constexpr uint32_t kMtu = 1024;

struct RefusalCase {
    const char* name;
    Refusal refusal;
    uint8_t nak;
    std::vector<Request> packets;  // the last one is refused; the PSNs are filled in, `reth.rkey` unless set
    Role role = Role::write;
};
std::ostream& operator<<(std::ostream& out, const RefusalCase& c) {
    return out << c.name;
}

Request packet(Opcode opcode, size_t bytes, RethFields reth = {}) {
    return {.opcode = opcode, .psn = 0, .reth = reth, .payload = pattern(bytes, 3), .ack_request = false};
}
Request write_first(uint64_t va, uint32_t length) {
    return packet(Opcode::rc_write_first, kMtu, {va, 0, length});
}
Request read(uint64_t va, uint32_t length) {
    return packet(Opcode::rc_read_request, 0, {va, 0, length});
}

const std::vector<RefusalCase> kCases = {
    // rule 10: the whole range at FIRST, safe from overflow
    {"READ across the end", Refusal::out_of_range, kAccess, {read(kRegionBytes - 7, 8)}},
    {"READ at the end", Refusal::out_of_range, kAccess, {read(kRegionBytes, 1)}},
    {"READ that wraps", Refusal::out_of_range, kAccess, {read(~0ULL - 3, 8)}},
    {"READ of the highest address", Refusal::out_of_range, kAccess, {read(~0ULL, 1)}},
    {"READ of 2 GiB", Refusal::out_of_range, kAccess, {read(0, 1U << 31)}},
    {"READ of more than 2 GiB", Refusal::message_length, kInvalid, {read(0, (1U << 31) + 1)}},
    {"WRITE ONLY across the end",
     Refusal::out_of_range,
     kAccess,
     {packet(Opcode::rc_write_only, 8, {kRegionBytes - 7, 0, 8})}},
    {"WRITE ONLY that wraps",
     Refusal::out_of_range,
     kAccess,
     {packet(Opcode::rc_write_only, 1024, {~0ULL - 511, 0, 1024})}},
    {"WRITE FIRST whose end is outside",
     Refusal::out_of_range,
     kAccess,
     {write_first(kRegionBytes - 4096, 4097)}},
    {"WRITE of more than 2 GiB", Refusal::message_length, kInvalid, {write_first(0, 0xffffffff)}},
    // rule 11: lengths
    {"WRITE FIRST shorter than the MTU",
     Refusal::packet_length,
     kInvalid,
     {packet(Opcode::rc_write_first, 1020, {0, 0, 4096})}},
    {"WRITE FIRST longer than the MTU",
     Refusal::packet_length,
     kInvalid,
     {packet(Opcode::rc_write_first, 2048, {0, 0, 4096})}},
    {"WRITE FIRST with a pad",
     Refusal::packet_length,
     kInvalid,
     {packet(Opcode::rc_write_first, 1023, {0, 0, 4096})}},
    {"WRITE FIRST that is all", Refusal::packet_length, kInvalid, {write_first(0, kMtu)}},
    {"WRITE FIRST of nothing",
     Refusal::packet_length,
     kInvalid,
     {packet(Opcode::rc_write_first, 0, {0, 0, 0})}},
    {"WRITE MIDDLE shorter than the MTU",
     Refusal::packet_length,
     kInvalid,
     {write_first(0, 4096), packet(Opcode::rc_write_middle, 512)}},
    {"WRITE MIDDLE where the LAST should be",
     Refusal::packet_length,
     kInvalid,
     {write_first(0, 2048), packet(Opcode::rc_write_middle, 1024)}},
    {"WRITE LAST of nothing",
     Refusal::message_length,
     kInvalid,
     {write_first(0, 2048), packet(Opcode::rc_write_last, 0)}},
    {"WRITE LAST too short",
     Refusal::message_length,
     kInvalid,
     {write_first(0, 2048), packet(Opcode::rc_write_last, 1000)}},
    {"WRITE LAST too long",
     Refusal::message_length,
     kInvalid,
     {write_first(0, 1500), packet(Opcode::rc_write_last, 1000)}},
    {"WRITE LAST before its time",
     Refusal::message_length,
     kInvalid,
     {write_first(0, 4096), packet(Opcode::rc_write_last, 1024)}},
    {"WRITE LAST longer than the MTU",
     Refusal::packet_length,
     kInvalid,
     {write_first(0, 4096), packet(Opcode::rc_write_last, 3072)}},
    {"WRITE ONLY longer than the MTU",
     Refusal::packet_length,
     kInvalid,
     {packet(Opcode::rc_write_only, 2048, {0, 0, 2048})}},
    {"WRITE ONLY longer than its RETH says",
     Refusal::message_length,
     kInvalid,
     {packet(Opcode::rc_write_only, 64, {0, 0, 63})}},
    {"WRITE ONLY shorter than its RETH says",
     Refusal::message_length,
     kInvalid,
     {packet(Opcode::rc_write_only_imm, 64, {0, 0, 65})}},
    {"SEND FIRST shorter than the MTU",
     Refusal::packet_length,
     kInvalid,
     {packet(Opcode::rc_send_first, 512)}},
    {"SEND LAST of nothing",
     Refusal::packet_length,
     kInvalid,
     {packet(Opcode::rc_send_first, 1024), packet(Opcode::rc_send_last, 0)}},
    {"SEND ONLY longer than the MTU", Refusal::packet_length, kInvalid, {packet(Opcode::rc_send_only, 1028)}},
    {"SEND longer than a capsule",
     Refusal::send_length,
     kInvalid,
     {packet(Opcode::rc_send_first, 1024), packet(Opcode::rc_send_middle, 1024),
      packet(Opcode::rc_send_last, 1)}},
    // rule 12: sequence of opcodes
    {"WRITE MIDDLE first", Refusal::opcode_sequence, kInvalid, {packet(Opcode::rc_write_middle, 1024)}},
    {"WRITE LAST first", Refusal::opcode_sequence, kInvalid, {packet(Opcode::rc_write_last, 10)}},
    {"WRITE LAST+imm first", Refusal::opcode_sequence, kInvalid, {packet(Opcode::rc_write_last_imm, 10)}},
    {"SEND MIDDLE first", Refusal::opcode_sequence, kInvalid, {packet(Opcode::rc_send_middle, 1024)}},
    {"SEND LAST first", Refusal::opcode_sequence, kInvalid, {packet(Opcode::rc_send_last, 10)}},
    {"WRITE FIRST in a WRITE",
     Refusal::opcode_sequence,
     kInvalid,
     {write_first(0, 4096), write_first(0, 4096)}},
    {"WRITE ONLY in a WRITE",
     Refusal::opcode_sequence,
     kInvalid,
     {write_first(0, 4096), packet(Opcode::rc_write_only, 10, {0, 0, 10})}},
    {"SEND MIDDLE in a WRITE",
     Refusal::opcode_sequence,
     kInvalid,
     {write_first(0, 4096), packet(Opcode::rc_send_middle, 1024)}},
    {"SEND ONLY in a WRITE",
     Refusal::opcode_sequence,
     kInvalid,
     {write_first(0, 4096), packet(Opcode::rc_send_only, 16)}},
    {"READ in a WRITE", Refusal::opcode_sequence, kInvalid, {write_first(0, 4096), read(0, 16)}},
    {"WRITE MIDDLE in a SEND",
     Refusal::opcode_sequence,
     kInvalid,
     {packet(Opcode::rc_send_first, 1024), packet(Opcode::rc_write_middle, 1024)}},
    {"READ in a SEND",
     Refusal::opcode_sequence,
     kInvalid,
     {packet(Opcode::rc_send_first, 1024), read(0, 16)}},
    {"COMPARE_SWAP in a WRITE",
     Refusal::opcode_sequence,
     kInvalid,
     {write_first(0, 4096), packet(Opcode::rc_compare_swap, 0)}},
    {"SEND with invalidate", Refusal::invalidate, kAccess, {packet(Opcode::rc_send_only_inv, 16)}},
    // rights
    {"READ of an unknown R_Key",
     Refusal::unknown_rkey,
     kAccess,
     {packet(Opcode::rc_read_request, 0, {0, 0x13131313, 16})}},
    {"WRITE by a reader",
     Refusal::access_right,
     kAccess,
     {packet(Opcode::rc_write_only, 16, {0, 0, 16})},
     Role::read},
    {"whole-page WRITE by a reader", Refusal::access_right, kAccess, {write_first(0, 4096)}, Role::read},
    {"WRITE by a recoverer",
     Refusal::access_right,
     kAccess,
     {packet(Opcode::rc_write_only, 16, {0, 0, 16})},
     Role::recover},
    {"READ without a role", Refusal::access_right, kAccess, {read(0, 16)}, Role::none},
};

}  // namespace

BOOST_DATA_TEST_CASE(refused_with_the_nak_that_belongs_to_it, data::make(kCases), c) {
    PeerFixture f({.mtu_bytes = kMtu, .psn = 0xffffff}, kRegionBytes);
    RawPeer peer(f.link, f.region, c.role);
    std::vector<Answer> answers;
    for (size_t i = 0; i < c.packets.size(); i++) {
        f.expect_silence(answers);  // what comes before the last one is fine
        Request request = c.packets[i];
        request.psn = roce::psn_add(0xffffff, static_cast<uint32_t>(i));
        if (request.reth.rkey == 0) request.reth.rkey = peer.rkey;
        answers = peer.exchange(request);
    }
    const uint32_t psn = roce::psn_add(0xffffff, static_cast<uint32_t>(c.packets.size() - 1));
    f.expect(answers, c.nak, psn, 0);
    BOOST_TEST(refused(*f.link.server, c.refusal) == 1U);
    BOOST_TEST((peer.qp.state == QpState::error));
    BOOST_TEST(peer.qp.failed);
    BOOST_TEST(f.region.present == 0U);
    BOOST_TEST(f.link.frames_in_use() == 0U);

    // Asked again for the same PSN (the NAK may have been lost): the same again. Nothing else is answered.
    Request again = c.packets.back();
    again.psn = psn;
    if (again.reth.rkey == 0) again.reth.rkey = peer.rkey;
    f.expect(peer.exchange(again), c.nak, psn, 0);
    Request good{.opcode = Opcode::rc_write_only,
                 .psn = roce::psn_add(psn, 1),
                 .reth = {0, peer.rkey, 4},
                 .payload = {1, 2, 3, 4}};
    f.expect_silence(peer.exchange(good));
    good.psn = 0xfffffe;
    f.expect_silence(peer.exchange(good));
    BOOST_TEST(refused(*f.link.server, c.refusal) == 1U);
    BOOST_TEST(dropped(*f.link.server, DropReason::qp_not_ready) == 3U);
    // Of no effect on anyone else.
    f.expect_ack(f.peer.exchange(f.peer.write_only(0, pattern(64, 1))), 0xffffff, 1);
    BOOST_TEST(f.memory(0, 64) == pattern(64, 1));
}

BOOST_AUTO_TEST_CASE(another_regions_rkey_is_refused) {
    PeerFixture f;
    auto& other = f.link.make_region("other", 1 << 20);
    for (uint32_t rkey : {other.data_rkey, other.dirty_rkey}) {
        RawPeer peer(f.link, f.region);
        Request request = peer.read(0, 16);
        request.reth.rkey = rkey;
        f.expect(peer.exchange(request), kAccess, 0, 0);
    }
    BOOST_TEST(refused(*f.link.server, Refusal::other_region) == 2U);
}

BOOST_AUTO_TEST_CASE(the_dirty_list_can_be_read_and_not_written) {
    PeerFixture f;
    Request write = f.peer.write_only(0, pattern(64, 1));
    write.reth.rkey = f.region.dirty_rkey;
    f.expect(f.peer.exchange(write), kAccess, 0, 0);
    RawPeer other(f.link, f.region, Role::recover);
    Request read = other.read(0, 4096);
    read.reth.rkey = f.region.dirty_rkey;
    BOOST_TEST(other.exchange(read).at(0).payload.size() == 4096U);
    read = other.read(f.region.dirty->memory().size() - 8, 9);
    read.reth.rkey = f.region.dirty_rkey;
    f.expect(other.exchange(read), kAccess, 1, 1);
}

// A WRITE refused half-way leaves the pages that were whole, and not a byte of the one that was not.
BOOST_AUTO_TEST_CASE(a_message_refused_half_way_leaves_whole_pages) {
    PeerFixture f({.mtu_bytes = kMtu});
    f.peer.exchange(f.peer.write_only(4096, pattern(1024, 8)));
    const Bytes bytes = pattern(4096 + 2048, 2);
    for (uint32_t i = 0; i < 6; i++) {
        Request request =
            packet(i == 0 ? Opcode::rc_write_first : Opcode::rc_write_middle, 0, {0, f.peer.rkey, 8192});
        request.payload.assign(bytes.begin() + i * kMtu, bytes.begin() + (i + 1) * kMtu);
        request.psn = 1 + i;
        f.expect_silence(f.peer.exchange(request));
    }
    BOOST_TEST(f.link.frames_in_use() == 3U);  // one is being built
    Request bad = packet(Opcode::rc_write_last, 100);
    bad.psn = 7;
    f.expect(f.peer.exchange(bad), kInvalid, 7, 1);
    BOOST_TEST(f.memory(0, 4096) == Bytes(bytes.begin(), bytes.begin() + 4096));
    BOOST_TEST(f.memory(4096, 1024) == pattern(1024, 8));
    BOOST_TEST(f.memory(4096 + 1024, 3072) == Bytes(3072));
    BOOST_TEST(f.link.frames_in_use() == 2U);
    BOOST_TEST(f.region.present == 2U);
}

// The refusal of a later request waits behind a READ's responses; an error of the READ itself comes first and
// is all.
BOOST_AUTO_TEST_CASE(one_nak_only_when_a_read_fails_before_a_refusal_is_told) {
    PeerFixture f({.mtu_bytes = 256});
    f.peer.send(f.peer.read(0, 1 << 20));
    f.peer.send({.opcode = Opcode::rc_write_middle, .psn = f.peer.psn, .payload = pattern(256, 1)});
    const auto begun = f.peer.answers(2);
    BOOST_TEST((f.qp().state == QpState::error));
    f.link.rkeys->remove(f.peer.rkey);
    f.expect(f.peer.answers(), kAccess, static_cast<uint32_t>(begun.size()), 1);
}
