// SPDX-License-Identifier: BSD-3-Clause
// Any packets, one after the other, into a server engine with a region: no crash, every answer well-formed,
// and at the end every frame that is not free is a page that is present.
//
// An input is packets, each behind a byte that says what of it is mended (so that it gets as far as it is
// meant to), a byte of variation and two bytes of length.
#include <boost/endian/conversion.hpp>

#include <algorithm>

#include "datapath/capsule.h"
#include "datapath/roce/icrc.h"
#include "tests/fuzz/target.h"
#include "tests/support/raw_peer.h"
#include "tests/unit/pcap_reader.h"

using namespace lagan;
using lagan::test::check;
using lagan::test::Frame;
using lagan::test::Loopback;
using lagan::test::RawPeer;
using lagan::test::Request;
using roce::Opcode;

namespace {

enum Mend : uint8_t {
    kLengths = 1,    // IP and UDP length, header checksum
    kAddresses = 2,  // the connection's addresses and QPN
    kPsn = 4,        // the PSN expected next, or one near it
    kRkey = 8,       // the R_Key of the pages, or of the dirty list
    kVa = 16,        // an address within the region
    kLength = 32,    // a WRITE ONLY's length is its payload's
    kIcrc = 64,
    kPollBetween = 128,  // not in the same burst as the packet before
};

struct World {
    World() : region(link.make_region("fuzz", 2 << 20)) {}
    Loopback link{{.frame_bytes = 8 << 20, .mtu_bytes = 1024, .ack_timeout = 0}};
    memory::Region& region;
};

World& world() {
    static World& the_world =
        *new World;  // never destroyed: EAL has no orderly end after a static destructor
    return the_world;
}

void mend_lengths(Frame& frame) {
    boost::endian::store_big_u16(&frame[14 + 2], static_cast<uint16_t>(frame.size() - 14));
    boost::endian::store_big_u16(&frame[14 + 20 + 4], static_cast<uint16_t>(frame.size() - 34));
}

void mend_checksum(Frame& frame) {
    boost::endian::store_big_u16(&frame[24], 0);
    uint32_t sum = 0;
    for (size_t i = 14; i < 34; i += 2)
        sum += boost::endian::load_big_u16(&frame[i]);
    while (sum > 0xffff)
        sum = (sum & 0xffff) + (sum >> 16);
    boost::endian::store_big_u16(&frame[24], static_cast<uint16_t>(~sum));
}

void mend_reth(const roce::Packet& packet, uint8_t mend, uint8_t variation) {
    if (packet.info->reth == roce::kNoHeader) return;
    auto& reth = const_cast<roce::Reth&>(packet.extension<roce::Reth>(packet.info->reth));
    const memory::Region& region = world().region;
    if (mend & kRkey) reth.rkey = variation % 8 == 7 ? region.dirty_rkey : region.data_rkey;
    if (mend & kVa) reth.va = reth.va % region.size_bytes;
    if ((mend & kLength) && packet.info->has(roce::kLast) && packet.info->has(roce::kWrite))
        reth.length = packet.payload_bytes;
}

void mend(Frame& frame, const RawPeer& peer, uint8_t mend, uint8_t variation) {
    if (frame.size() < 14 + 20 + 8 + sizeof(roce::Bth) + roce::kIcrcBytes) return;
    auto& bth = *reinterpret_cast<roce::Bth*>(&frame[42]);
    if (mend & kLengths) mend_lengths(frame);
    if (mend & kAddresses) {
        const net::Path& path = peer.pair.client->attributes.path;
        std::memcpy(&frame[26], path.local_ip.ipv4(), 4);
        std::memcpy(&frame[30], path.remote_ip.ipv4(), 4);
        bth.dest_qpn = peer.qp.qpn;
    }
    if (mend & kPsn) {
        constexpr int kNear[] = {0, 0, 0, 0, 0, 0, 0, 0, -1, -2, -3, 1, 2, -8, -32, 0x7fffff};
        bth.psn = (peer.qp.responder.expected_psn + static_cast<uint32_t>(kNear[variation % 16])) & 0xffffff;
    }
    if (mend & (kLengths | kAddresses)) mend_checksum(frame);
    roce::Packet packet{};
    if (roce::decode(frame.data(), static_cast<uint32_t>(frame.size()), packet).result !=
        roce::DecodeResult::roce)
        return;
    mend_reth(packet, mend, variation);
    if ((mend & kIcrc) == 0) return;
    const uint32_t headers =
        roce::icrc_header_state(packet.ip, packet.is_ipv6, packet.transport_header_bytes());
    roce::icrc_store(const_cast<uint8_t*>(packet.icrc()),
                     roce::crc32_raw(headers, packet.payload, packet.payload_bytes + packet.pad_bytes));
}

// Server and peer's answers; answers() looks at each packet that comes out.
void feed(RawPeer& peer, const uint8_t* data, size_t size) {
    uint32_t queued = 0;
    for (size_t at = 0; at + 4 <= size;) {
        const uint8_t what = data[at], variation = data[at + 1];
        const size_t bytes =
            std::min<size_t>({boost::endian::load_big_u16(data + at + 2), size - at - 4, 4300});
        Frame frame(data + at + 4, data + at + 4 + bytes);
        at += 4 + bytes;
        if ((what & kPollBetween) != 0 || queued == 64) {
            peer.answers(2);
            queued = 0;
        }
        mend(frame, peer, what, variation);
        if (frame.empty()) continue;
        peer.send_frame(frame);
        queued++;
    }
    peer.answers();
}

void take_punted(Engine& engine) {
    rte_mbuf* punted[32];
    while (const uint32_t count = engine.take_punted(punted, 32))
        rte_pktmbuf_free_bulk(punted, count);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size > 60'000) return 0;
    World& w = world();
    {
        RawPeer peer(w.link, w.region);
        feed(peer, data, size);
        w.link.disconnect(peer.pair);
    }
    take_punted(*w.link.server);
    take_punted(*w.link.client);
    w.link.settle();
    uint64_t present = 0;
    for (uint64_t page = 0; page < w.region.page_count; page++)
        present += w.region.page_table[page].load() != memory::kAbsent;
    check(w.region.present == present, "the count of present pages is right");
    check(w.link.frames_in_use() == present, "every frame that is not free is a present page");
    check(w.link.server->active.empty(), "nothing is left to be done");
    check(w.link.server_qps->size() == 0, "the queue pair is gone");
    const Counters& counters = w.link.server->counters;
    check(counters.drops[static_cast<unsigned>(DropReason::no_mbuf)] == 0, "mbufs come back");
    return 0;
}

namespace {

void add(std::vector<lagan::test::Input>& seeds, const Frame& frame, uint8_t what) {
    lagan::test::Input seed = {what, 0, static_cast<uint8_t>(frame.size() >> 8),
                               static_cast<uint8_t>(frame.size())};
    seed.insert(seed.end(), frame.begin(), frame.end());
    seeds.push_back(std::move(seed));
}

Frame capsule_of(uint8_t opcode, uint32_t count, const Frame& body) {
    capsule::Header header{};
    header.version = capsule::kVersion;
    header.opcode = opcode;
    header.count = count;
    Frame frame(sizeof header + body.size());
    std::memcpy(frame.data(), &header, sizeof header);
    std::copy(body.begin(), body.end(), frame.begin() + sizeof header);
    return frame;
}

}  // namespace

// What Linux sends, and a packet of every RC opcode.
std::vector<lagan::test::Input> lagan::test::fuzz_seeds() {
    std::vector<Input> seeds;
    const std::vector<Frame> captured = read_all_captures();
    for (size_t i = 0; i < captured.size(); i += 8) {  // few against what follows: most of them are alike
        add(seeds, captured[i], i % 16 == 0 ? 0 : 0x7f);
    }
    World& w = world();
    RawPeer peer(w.link, w.region);
    const auto add_request = [&](Opcode opcode, size_t payload, uint32_t length) {
        const Frame frame = peer.build({.opcode = opcode,
                                        .psn = 0,
                                        .reth = {4000, w.region.data_rkey, length},
                                        .payload = Frame(payload, 7)});
        for (const uint8_t what : {uint8_t{0x5f}, uint8_t{0x7f}, uint8_t{0xdf}, uint8_t{0xff}})
            add(seeds, frame, what);
    };
    for (size_t opcode = 0; opcode < 0x18; opcode++)
        if (roce::kOpcodes[opcode].known())
            add_request(static_cast<Opcode>(opcode), roce::kOpcodes[opcode].has(roce::kPayload) ? 1024 : 0,
                        4096);
    add_request(Opcode::rc_write_last, 100, 0);
    add_request(Opcode::rc_write_only, 333, 333);
    add_request(Opcode::rc_read_request, 0, 100'000);
    for (const Frame& capsule :
         {capsule_of(1, 1, {0, 0, 0, 0, 0, 0, 2, 0}), capsule_of(1, 1, {0, 0, 0, 3, 0, 0, 0, 1}),
          capsule_of(2, 0, Frame(16)), capsule_of(2, 0, {1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}),
          capsule_of(3, 0, {})}) {
        const Frame frame = peer.build({.opcode = Opcode::rc_send_only, .psn = 0, .payload = capsule});
        for (const uint8_t what : {uint8_t{0x5f}, uint8_t{0xdf}})
            add(seeds, frame, what);
    }
    w.link.disconnect(peer.pair);
    return seeds;
}

std::string lagan::test::fuzz_summary() {
    const Counters& counters = world().link.server->counters;
    unsigned count;
    const CounterInfo* table = counter_table(count);
    std::string text;
    const auto line = [&](const char* name, uint64_t value) {
        if (value != 0) text += std::string(name) + " " + std::to_string(value) + "\n";
    };
    for (unsigned i = 0; i < count; i++)
        line(table[i].name, counters.*table[i].value);
    for (unsigned i = 0; i < kDropReasonCount; i++)
        line(drop_reason_name(static_cast<DropReason>(i)), counters.drops[i]);
    for (unsigned i = 0; i < kRefusalCount; i++)
        line(refusal_name(static_cast<Refusal>(i)), counters.refusals[i]);
    return text;
}
