// SPDX-License-Identifier: BSD-3-Clause
// What one connection does must not starve, fail or spoil another; and nothing that goes leaves frames
// behind.
#define BOOST_TEST_MODULE isolation_protocol
#include "datapath/capsule.h"
#include "tests/protocol/peer_fixture.h"

using namespace lagan;
using namespace lagan::test;
using memory::kPageBytes;
using roce::Opcode;
using roce::WorkStatus;

namespace {

Frame free_capsule(uint32_t first, uint32_t count) {
    struct {
        capsule::Header header;
        capsule::PageRange range;
    } request{};
    request.header.version = capsule::kVersion;
    request.header.opcode = static_cast<uint8_t>(capsule::Opcode::free_pages);
    request.header.count = 1;
    request.range = {.first_page = first, .page_count = count};
    const auto* bytes = reinterpret_cast<const uint8_t*>(&request);
    return {bytes, bytes + sizeof request};
}

void post_send(Loopback& link, const Loopback::Pair& pair, const Frame& message) {
    BOOST_REQUIRE(roce::post_send(*link.client, *pair.client, 0,
                                  reinterpret_cast<const std::byte*>(message.data()),
                                  static_cast<uint32_t>(message.size())));
}

void fill(Loopback& link, const Loopback::Pair& pair, const memory::Region& region) {
    const Bytes megabyte = pattern(1 << 20, 1);
    for (uint64_t at = 0; at < region.size_bytes; at += megabyte.size())
        BOOST_REQUIRE(link.write(pair, region.data_rkey, at, megabyte.data(), 1 << 20) ==
                      WorkStatus::success);
    BOOST_REQUIRE(region.present == region.page_count);
}

// Completions by QP.
struct Counting final : roce::CompletionSink {
    std::map<const Qp*, uint32_t> done;
    bool failed = false;
    void complete(Qp& qp, uint64_t, WorkStatus status) override {
        done[&qp]++;
        failed |= status != WorkStatus::success;
    }
};

// One small READ after the other on `pair` while `busy` holds; returns how many got through.
uint32_t reads_meanwhile(Loopback& link, Counting& counting, const Loopback::Pair& pair, uint32_t rkey,
                         const std::function<bool()>& busy) {
    std::byte small[64];
    const uint32_t before = counting.done[pair.client];
    uint32_t posted = before;
    for (uint64_t polls = 0; busy(); polls++) {
        BOOST_REQUIRE(polls < 10'000'000);
        if (counting.done[pair.client] == posted) {
            roce::post_read(*link.client, *pair.client, 0, rkey, 0, small, sizeof small);
            posted++;
        }
        link.poll();
    }
    const uint32_t through = counting.done[pair.client] - before;
    link.settle();
    return through;
}

}  // namespace

// Timers are off: whatever is lost here by the server's own doing stays lost and hangs the test.
BOOST_AUTO_TEST_CASE(a_long_read_does_not_starve_others) {
    Loopback link({.frame_bytes = 80ULL << 20, .ack_timeout = 0});
    auto& region = link.make_region("r", 64 << 20);
    const auto other = link.connect(region);
    fill(link, other, region);
    const auto pair = link.connect(region);
    Counting counting;
    link.client->completions = &counting;
    Bytes in(64 << 20);
    BOOST_REQUIRE(roce::post_read(*link.client, *pair.client, 0, region.data_rkey, 0,
                                  reinterpret_cast<std::byte*>(in.data()), 64 << 20));
    const uint32_t through = reads_meanwhile(link, counting, other, region.data_rkey,
                                             [&] { return counting.done[pair.client] == 0; });
    BOOST_TEST_MESSAGE(through << " small READs during one of 64 MiB");
    BOOST_TEST(through > 100U);
    BOOST_TEST(!counting.failed);
    BOOST_TEST((in == memory_of(region, *link.frames)));
    BOOST_TEST(dropped(*link.server, DropReason::tx_full) == 0U);
    link.client->completions = &link.log;
}

// More long READs than fill a tx batch: none may wait until others are done.
BOOST_AUTO_TEST_CASE(many_long_reads_share_the_port) {
    Loopback link({.ack_timeout = 0});
    auto& region = link.make_region("r", 8 << 20);
    std::vector<Loopback::Pair> pairs;
    for (uint32_t i = 0; i < 12; i++)
        pairs.push_back(link.connect(region));
    fill(link, pairs[0], region);
    Counting counting;
    link.client->completions = &counting;
    Bytes in(8 << 20);
    std::vector<uint32_t> start;
    for (const auto& pair : pairs) {
        start.push_back(pair.client->requester.next_psn);
        BOOST_REQUIRE(roce::post_read(*link.client, *pair.client, 0, region.data_rkey, 0,
                                      reinterpret_cast<std::byte*>(in.data()), 8 << 20));
    }
    while (counting.done.empty())
        link.poll();
    for (size_t i = 0; i < pairs.size(); i++) {  // each has most of its 2048 responses when the first is done
        const Qp& qp = *pairs[i].client;
        const uint32_t received =
            counting.done[&qp] == 1 ? 2048 : roce::psn_distance(start[i], qp.requester.unacked_psn);
        BOOST_TEST(received > 1500U);
    }
    BOOST_REQUIRE(link.poll_until([&] {
        return std::all_of(pairs.begin(), pairs.end(),
                           [&](const auto& p) { return counting.done[p.client] == 1; });
    }));
    BOOST_TEST(!counting.failed);
    BOOST_TEST(dropped(*link.server, DropReason::tx_full) == 0U);
    link.client->completions = &link.log;
}

// Acknowledgements wait for room in the tx batch; lost, they would cost their requester a timeout.
BOOST_AUTO_TEST_CASE(long_reads_do_not_cost_others_their_acknowledgements) {
    Loopback link({.ack_timeout = 0});
    auto& region = link.make_region("r", 8 << 20);
    std::vector<Loopback::Pair> readers, writers;
    for (uint32_t i = 0; i < 6; i++)
        readers.push_back(link.connect(region));
    for (uint32_t i = 0; i < 6; i++)
        writers.push_back(link.connect(region));
    fill(link, readers[0], region);
    Counting counting;
    link.client->completions = &counting;
    Bytes in(8 << 20);
    const Bytes out = pattern(4096, 5);
    for (const auto& pair : readers)
        BOOST_REQUIRE(roce::post_read(*link.client, *pair.client, 0, region.data_rkey, 0,
                                      reinterpret_cast<std::byte*>(in.data()), 8 << 20));
    uint32_t posted = 0;
    BOOST_REQUIRE(link.poll_until([&] {
        uint32_t done = 0;
        for (const auto& pair : writers)
            done += counting.done[pair.client];
        if (done == posted && posted < 600)
            for (const auto& pair : writers) {
                roce::post_write(*link.client, *pair.client, 0, region.data_rkey,
                                 (posted % 2048) * kPageBytes, reinterpret_cast<const std::byte*>(out.data()),
                                 4096);
                posted++;
            }
        return posted == 600 && done == posted;
    }));
    BOOST_REQUIRE(link.poll_until([&] {
        return std::all_of(readers.begin(), readers.end(),
                           [&](const auto& p) { return counting.done[p.client] == 1; });
    }));
    BOOST_TEST(!counting.failed);
    BOOST_TEST(dropped(*link.server, DropReason::tx_full) == 0U);
    link.client->completions = &link.log;
}

// FREE of a whole region is carried out in slices; READs and WRITEs of others go on, none of them dropped for
// want of room among the frames that wait for a grace period. Another lcore is slow to pass a quiescent
// state.
BOOST_AUTO_TEST_CASE(a_huge_free_does_not_starve_others) {
    Loopback link({.frame_bytes = 160ULL << 20, .ack_timeout = 0});
    auto& region = link.make_region("r", 128 << 20);
    auto& theirs = link.make_region("theirs", 4 << 20);
    const auto pair = link.connect(region);
    const auto reader = link.connect(theirs);
    const auto writer = link.connect(theirs);
    fill(link, pair, region);
    fill(link, writer, theirs);
    rte_rcu_qsbr_thread_register(link.server_rcu, 1);
    rte_rcu_qsbr_thread_online(link.server_rcu, 1);
    Counting counting;
    link.client->completions = &counting;
    post_send(link, pair, free_capsule(0, 32768));
    const Bytes out = pattern(64 << 10, 3);
    uint32_t writes = 0, polls = 0;
    const uint32_t through = reads_meanwhile(link, counting, reader, theirs.data_rkey, [&] {
        if (polls++ % 20 == 0) rte_rcu_qsbr_quiescent(link.server_rcu, 1);
        if (counting.done[writer.client] == writes) {
            roce::post_write(*link.client, *writer.client, 0, theirs.data_rkey, writes % 16 * (64 << 10),
                             reinterpret_cast<const std::byte*>(out.data()), 64 << 10);
            writes++;
        }
        return pair.client->responder.received.empty();  // no reply so far
    });
    BOOST_TEST_MESSAGE(through << " READs and " << writes
                               << " WRITEs of 16 pages during a FREE of 32768 pages");
    rte_rcu_qsbr_thread_offline(link.server_rcu, 1);
    link.settle();
    BOOST_TEST(through > 20U);
    BOOST_TEST(writes > 4U);
    BOOST_TEST(!counting.failed);
    BOOST_TEST(dropped(*link.server, DropReason::retire_full) == 0U);
    BOOST_TEST(region.present == 0U);
    BOOST_TEST(link.frames_in_use() == theirs.present);
    link.client->completions = &link.log;
}

BOOST_AUTO_TEST_CASE(an_overcommitted_region_runs_out_and_recovers) {
    PeerFixture f({.frame_bytes = 16 << 20}, 64 << 20, 0, true);
    const uint64_t usable = f.link.regions->budget().usable();
    uint32_t stored = 0;
    Request refused_write;
    for (;; stored++) {
        refused_write = f.peer.write_only(stored * 4096ULL, pattern(4096, 1));
        const auto answers = f.peer.exchange(refused_write);
        BOOST_REQUIRE_EQUAL(answers.size(), 1U);
        if (answers[0].syndrome == roce::kAckNoCredits) continue;
        f.expect(answers, kOperation, stored, stored);
        break;
    }
    BOOST_TEST(stored == usable);
    BOOST_TEST(refused(*f.link.server, Refusal::no_frames) == 1U);
    BOOST_TEST(f.link.frames_in_use() == stored);
    BOOST_TEST(f.region.present == stored);

    // A page that is there can still be stored anew, zeros need no frame, and READs go on.
    RawPeer second(f.link, f.region);
    f.expect_ack(second.exchange(second.write_only(0, pattern(4096, 2))), 0, 1);
    f.expect_ack(second.exchange(second.write_only(stored * 4096ULL, Frame(4096))), 1, 2);
    f.expect_ack(second.exchange(second.write_only(stored * 4096ULL, Frame(100))), 2, 3);
    BOOST_TEST(second.exchange(second.read(0, 4096)).at(0).payload == pattern(4096, 2));
    BOOST_TEST(f.link.frames_in_use() == stored);
    // A page freed is a frame for another.
    BOOST_TEST(second.exchange(second.message(free_capsule(7, 1))).size() == 2U);
    f.expect_ack(second.exchange(second.write_only(stored * 4096ULL, pattern(4096, 3))), 5, 6);
    f.expect(second.exchange(second.write_only((stored + 1) * 4096ULL, pattern(4096, 3))), kOperation, 6, 6);
    BOOST_TEST(f.link.frames_in_use() == stored);
    BOOST_TEST(f.memory(stored * 4096ULL, 4096) == pattern(4096, 3));
}

// Pages of a burst are published together, after the last packet: the one that finds no frame is named all
// the same, those before it count, and those behind it never happened. Another connection's page in the same
// burst is none of its business.
BOOST_AUTO_TEST_CASE(memory_that_runs_out_within_a_burst) {
    PeerFixture f({.frame_bytes = 16 << 20}, 64 << 20, 0, true);
    auto& reserved = f.link.make_region("reserved", 64 << 10);
    RawPeer other(f.link, reserved);
    const auto room = static_cast<uint32_t>(f.link.regions->budget().unclaimed()) - 3;
    for (uint32_t page = 0; page < room; page++)
        f.peer.exchange(f.peer.write_only(page * 4096ULL, pattern(4096, 1)));
    for (uint32_t page = room; page < room + 8; page++) {
        f.peer.send(f.peer.write_only(page * 4096ULL, pattern(4096, 2)));
        if (page == room + 5) other.send(other.write_only(0, pattern(4096, 3)));
    }
    const auto answers = f.peer.answers();
    BOOST_REQUIRE_EQUAL(answers.size(), 2U);
    const bool nak_first = answers[0].syndrome == kOperation;
    const Answer& nak = answers[nak_first ? 0 : 1];
    BOOST_TEST(int(nak.syndrome) == int(kOperation));
    BOOST_TEST(nak.psn == room + 3);
    BOOST_TEST(nak.msn == room + 3);
    f.expect_ack({answers[nak_first ? 1 : 0]}, 0, 1);
    BOOST_TEST(f.region.present == room + 3);
    BOOST_TEST(reserved.present == 1U);
    BOOST_TEST(f.link.frames_in_use() == room + 4);
    BOOST_TEST(f.memory((room + 2) * 4096ULL, 4096) == pattern(4096, 2));
}

BOOST_AUTO_TEST_CASE(a_reserve_is_safe_from_an_overcommitted_neighbour) {
    PeerFixture f({.frame_bytes = 16 << 20}, 4 << 20);  // its reserve is its size
    auto& greedy = f.link.make_region("greedy", 64 << 20, 0, true);
    RawPeer taker(f.link, greedy);
    for (uint32_t page = 0; taker.qp.state == QpState::ready; page++)
        taker.exchange(taker.write_only(page * 4096ULL, pattern(4096, 1)));
    for (uint32_t page = 0; page < 1024; page++)
        f.expect_ack(f.peer.exchange(f.peer.write_only(page * 4096ULL, pattern(4096, 2))), page, page + 1);
    BOOST_TEST(f.link.frames_in_use() == greedy.present + f.region.present);
}

BOOST_AUTO_TEST_CASE(a_region_deleted_under_its_connections) {
    Loopback link({.mtu_bytes = 1024});
    auto& region = link.make_region("r", 8 << 20);
    auto& other = link.make_region("other", 1 << 20);
    const auto bystander = link.connect(other);
    const auto reader = link.connect(region), writer = link.connect(region), idle = link.connect(region);
    fill(link, reader, region);
    Bytes in(8 << 20);
    const Bytes out = pattern(1 << 20, 7);
    link.log.entries.clear();
    roce::post_read(*link.client, *reader.client, 1, region.data_rkey, 0,
                    reinterpret_cast<std::byte*>(in.data()), 8 << 20);
    roce::post_write(*link.client, *writer.client, 2, region.data_rkey, 100,
                     reinterpret_cast<const std::byte*>(out.data()), 1 << 20);
    for (int i = 0; i < 6; i++)
        link.poll();
    BOOST_REQUIRE(link.log.entries.empty());
    const uint32_t rkey = region.data_rkey;
    // The engine's thread is this one: it cannot pass a quiescent state while destroy() waits for it.
    rte_rcu_qsbr_thread_offline(link.server_rcu, 0);
    link.regions->destroy(region);
    rte_rcu_qsbr_thread_online(link.server_rcu, 0);

    BOOST_REQUIRE(link.wait_completions(2));
    for (const auto& entry : link.log.entries)
        BOOST_TEST(entry.status == WorkStatus::remote_access);
    BOOST_TEST(link.read(idle, rkey, 0, in.data(), 64) == WorkStatus::remote_access);
    BOOST_TEST(link.write(bystander, other.data_rkey, 0, out.data(), 4096) == WorkStatus::success);
    link.settle();
    BOOST_TEST(link.frames_in_use() == 1U);
    BOOST_TEST(other.present == 1U);
}

BOOST_AUTO_TEST_CASE(a_connection_closed_in_the_middle_of_everything_leaves_nothing) {
    Loopback link({.mtu_bytes = 1024});
    auto& region = link.make_region("r", 8 << 20);
    const Bytes out = pattern(1 << 20, 7);
    Bytes in(1 << 20);
    for (int i = 0; i < 60; i++) {
        const auto pair = link.connect(region);
        const auto* from = reinterpret_cast<const std::byte*>(out.data());
        roce::post_write(*link.client, *pair.client, 1, region.data_rkey, link.random() % 4096, from,
                         1 << 20);
        roce::post_read(*link.client, *pair.client, 2, region.data_rkey, 0,
                        reinterpret_cast<std::byte*>(in.data()), 1 << 20);
        post_send(link, pair, free_capsule(0, 2048));
        for (uint64_t polls = link.random() % (i < 30 ? 40 : 200); polls != 0; polls--)
            link.poll();
        link.disconnect(pair);
        link.settle();
        BOOST_REQUIRE_EQUAL(region.present, present_pages(region));
        BOOST_REQUIRE_EQUAL(link.frames_in_use(), region.present);
    }
    BOOST_TEST(link.server->active.empty());
    BOOST_TEST(link.client->active.empty());
    BOOST_TEST(link.server_qps->size() == 0U);
    BOOST_TEST(link.client_qps->size() == 0U);
}

// What was copied from a packet whose ICRC proved wrong must not count for anything, whatever comes next.
BOOST_AUTO_TEST_CASE(a_corrupt_packet_leaves_no_crc_behind) {
    PeerFixture f({.mtu_bytes = 1024});
    const Bytes bytes = pattern(4096, 1);
    const auto part = [&](size_t from, size_t to) {
        return Frame(bytes.begin() + long(from), bytes.begin() + long(to));
    };
    f.expect_silence(f.peer.exchange({.opcode = Opcode::rc_write_first,
                                      .psn = 0,
                                      .reth = {0, f.peer.rkey, 1024 + 500},
                                      .payload = part(0, 1024),
                                      .ack_request = false}));
    // Claims to go on for longer than the message does: looked at, copied, and thrown away.
    Request corrupt{.opcode = Opcode::rc_write_last, .psn = 1, .payload = pattern(500, 99)};
    corrupt.damage = [](Frame& frame, const Request::Layout& at) { frame[at.payload] ^= 1; };
    f.expect_silence(f.peer.exchange(corrupt));
    f.expect_ack(f.peer.exchange({.opcode = Opcode::rc_write_last, .psn = 1, .payload = part(1024, 1524)}), 1,
                 1);
    // Whole blocks: the first attempt is corrupt, the second comes in other pieces as a new message over the
    // same page.
    f.peer.psn = 2;
    Request whole = f.peer.write_only(0, part(0, 1024));
    whole.damage = corrupt.damage;
    f.expect_silence(f.peer.exchange(whole));
    Request other = whole;
    other.damage = {};
    other.reth = {2000, f.peer.rkey, 100};
    other.payload = pattern(100, 4);
    f.expect_ack(f.peer.exchange(other), 2, 2);
    // The answer's ICRC, which is made of the kept CRCs, is right (answers() checks it).
    for (uint32_t at = 0; at < 4096; at += 1024) {
        const auto answers = f.peer.exchange(f.peer.read(at, 1024));
        BOOST_REQUIRE_EQUAL(answers.size(), 1U);
        BOOST_TEST(answers[0].payload == f.memory(at, 1024));
    }
}
