// SPDX-License-Identifier: BSD-3-Clause
// Compare-and-swap and fetch-and-add: executed once however often they are asked for, answered in PSN order.
#define BOOST_TEST_MODULE atomic_protocol
#include "tests/protocol/peer_fixture.h"

using namespace lagan;
using namespace lagan::test;
using roce::Opcode;
using roce::psn_add;
using roce::WorkStatus;

namespace {

struct Fixture : PeerFixture {
    using PeerFixture::PeerFixture;

    uint64_t word(uint64_t va) {
        uint64_t value;
        std::memcpy(&value, memory(va, sizeof value).data(), sizeof value);
        return value;
    }
    void expect_original(const std::vector<Answer>& answers, uint64_t original, uint32_t psn,
                         uint32_t msn) const {
        BOOST_REQUIRE_EQUAL(answers.size(), 1U);
        BOOST_TEST(answers[0].opcode == Opcode::rc_atomic_ack);
        BOOST_TEST(answers[0].original == original);
        BOOST_TEST(int(answers[0].syndrome) == int(roce::kAckNoCredits));
        BOOST_TEST(answers[0].psn == psn);
        BOOST_TEST(answers[0].msn == msn);
    }
};

// Flat memory of the test's own that belongs to the fixture's region.
struct FlatMemory {
    explicit FlatMemory(Fixture& fixture) : f(fixture) {
        rkey = f.link.rkeys->add({.kind = memory::MemoryRegion::Kind::flat,
                                  .access = memory::kAccessRead | memory::kAccessWrite,
                                  .rkey = 0,
                                  .region_id = f.region.id,
                                  .length = sizeof words,
                                  .region = nullptr,
                                  .base = reinterpret_cast<std::byte*>(words)});
        f.peer.rkey = rkey;
    }
    ~FlatMemory() { f.link.rkeys->remove(rkey); }
    Fixture& f;
    uint32_t rkey;
    alignas(64) uint64_t words[8] = {};
};

}  // namespace

BOOST_AUTO_TEST_CASE(values_on_paged_memory) {
    Fixture f({.psn = 0xfffffe});
    f.expect_original(f.peer.exchange(f.peer.fetch_add(8, 5)), 0, 0xfffffe, 1);
    BOOST_TEST(f.word(8) == 5U);
    BOOST_TEST(f.region.active().is_marked(0));
    f.expect_original(f.peer.exchange(f.peer.fetch_add(8, ~0ULL)), 5, 0xffffff, 2);
    f.expect_original(f.peer.exchange(f.peer.compare_swap(8, 4, 0x0123456789abcdef)), 4, 0, 3);
    f.expect_original(f.peer.exchange(f.peer.compare_swap(8, 4, 9)), 0x0123456789abcdef, 1, 4);
    BOOST_TEST(f.word(8) == 0x0123456789abcdefU);
    BOOST_TEST(f.word(0) == 0U);
    BOOST_TEST(f.word(16) == 0U);
    BOOST_TEST(f.counters().atomics == 4U);
    BOOST_TEST(f.counters().pages_stored == 3U);  // the one that found another value stored nothing
    BOOST_TEST(f.link.frames_in_use() == 1U);
}

BOOST_AUTO_TEST_CASE(the_rest_of_the_page_stays) {
    Fixture f;
    const Bytes page = pattern(4096, 3);
    f.peer.exchange(f.peer.write_only(4096, page));
    uint64_t last;
    std::memcpy(&last, &page[4088], sizeof last);
    f.expect_original(f.peer.exchange(f.peer.fetch_add(4096 + 4088, 1)), last, 1, 2);
    const Bytes after = f.memory(4096, 4096);
    BOOST_TEST(std::equal(page.begin(), page.begin() + 4088, after.begin()));
    BOOST_TEST(f.word(4096 + 4088) == last + 1);
    // The frame's CRCs are right: the READ's ICRC, which is made of them, is checked.
    BOOST_TEST(f.peer.exchange(f.peer.read(4096, 4096)).at(0).payload == after);
}

BOOST_AUTO_TEST_CASE(values_on_flat_memory) {
    Fixture f;
    FlatMemory flat(f);
    f.expect_original(f.peer.exchange(f.peer.fetch_add(16, 7)), 0, 0, 1);
    f.expect_original(f.peer.exchange(f.peer.compare_swap(16, 7, 70)), 7, 1, 2);
    f.expect_original(f.peer.exchange(f.peer.compare_swap(16, 7, 71)), 70, 2, 3);
    BOOST_TEST(flat.words[2] == 70U);
    BOOST_TEST(flat.words[1] + flat.words[3] == 0U);
    BOOST_TEST(f.region.present == 0U);
}

BOOST_AUTO_TEST_CASE(a_duplicate_is_answered_again_and_not_executed) {
    Fixture f;
    const Request first = f.peer.fetch_add(0, 5);
    const Request second = f.peer.fetch_add(0, 7);
    f.expect_original(f.peer.exchange(first), 0, 0, 1);
    f.expect_original(f.peer.exchange(second), 5, 1, 2);
    const auto answers =
        f.peer.exchange(first);  // and what came behind it, as for a requester that goes back
    BOOST_REQUIRE_EQUAL(answers.size(), 2U);
    BOOST_TEST(answers[0].original == 0U);
    BOOST_TEST(answers[0].psn == 0U);
    BOOST_TEST(answers[0].msn == 1U);
    BOOST_TEST(answers[1].original == 5U);
    f.expect_original(f.peer.exchange(second), 5, 1, 2);
    BOOST_TEST(f.word(0) == 12U);
    BOOST_TEST(f.counters().atomics == 2U);
    BOOST_TEST(f.counters().duplicates == 2U);
}

// As deep as was negotiated, and deeper: each keeps the value that it found.
BOOST_AUTO_TEST_CASE(every_one_of_the_negotiated_depth_can_be_asked_for_again) {
    Fixture f({.responder_resources = 128});
    std::vector<Request> requests;
    for (uint64_t i = 0; i < 300; i++) {
        requests.push_back(f.peer.fetch_add(0, 1));
        f.expect_original(f.peer.exchange(requests.back()), i, uint32_t(i), uint32_t(i + 1));
    }
    for (size_t i = 300 - 128; i < 300; i++) {
        const auto answers = f.peer.exchange(requests[i]);
        BOOST_REQUIRE_EQUAL(answers.size(), 300 - i);
        BOOST_TEST(answers[0].original == i);
        BOOST_TEST(answers.back().original == 299U);
    }
    f.expect_silence(f.peer.exchange(requests[0]));  // nobody who keeps to the depth asks for it
    BOOST_TEST(dropped(*f.link.server, DropReason::psn_invalid) == 1U);
    BOOST_TEST(f.word(0) == 300U);
}

BOOST_AUTO_TEST_CASE(responses_leave_in_psn_order) {
    Fixture f({.mtu_bytes = 256});
    f.peer.exchange(f.peer.write_only(0, pattern(64, 1)));
    f.peer.send(f.peer.read(0, 40 * 256));  // takes several turns
    f.peer.send(f.peer.fetch_add(1 << 20, 3));
    f.peer.send(f.peer.read(1 << 20, 8));
    f.peer.send(f.peer.write_only(4096, pattern(64, 2)));
    const auto answers = f.peer.answers();
    BOOST_REQUIRE_EQUAL(answers.size(), 43U);
    for (uint32_t i = 0; i < answers.size(); i++)
        BOOST_TEST(answers[i].psn == 1 + i);
    BOOST_TEST(answers[40].opcode == Opcode::rc_atomic_ack);
    BOOST_TEST(int(answers[41].payload.at(0)) == 3);
    BOOST_TEST(answers[42].opcode == Opcode::rc_ack);
}

BOOST_AUTO_TEST_CASE(more_than_the_negotiated_depth_is_refused) {
    Fixture f({.mtu_bytes = 256, .responder_resources = 2});
    f.peer.send(f.peer.read(0, 100 * 256));
    f.peer.send(f.peer.fetch_add(0, 1));
    f.peer.send(f.peer.fetch_add(0, 1));
    BOOST_TEST(f.peer.answers().back().syndrome == kInvalid);
    BOOST_TEST(refused(*f.link.server, Refusal::read_depth) == 1U);
    BOOST_TEST(f.word(0) == 1U);
}

BOOST_AUTO_TEST_CASE(refusals) {
    const auto refused_with = [](Request (*make)(Fixture&), Refusal refusal, Role role, uint8_t syndrome) {
        Fixture f;
        f.peer.exchange(f.peer.write_only(0, pattern(64, 1)));
        if (role != Role::write) {
            RawPeer reader(f.link, f.region, role);
            const Request request = reader.fetch_add(0, 1);
            f.expect(reader.exchange(request), syndrome, 0, 0);
        } else {
            f.expect(f.peer.exchange(make(f)), syndrome, 1, 1);
        }
        BOOST_TEST(refused(*f.link.server, refusal) == 1U);
        BOOST_TEST(f.memory(0, 64) == pattern(64, 1));
    };
    refused_with([](Fixture& f) { return f.peer.fetch_add(4, 1); }, Refusal::misaligned_atomic, Role::write,
                 kInvalid);
    refused_with([](Fixture& f) { return f.peer.fetch_add(f.region.size_bytes, 1); }, Refusal::out_of_range,
                 Role::write, kAccess);
    refused_with([](Fixture& f) { return f.peer.fetch_add(~7ULL, 1); }, Refusal::out_of_range, Role::write,
                 kAccess);
    refused_with(
        [](Fixture& f) {
            f.peer.rkey ^= 0x80000000;
            return f.peer.compare_swap(0, 0, 1);
        },
        Refusal::unknown_rkey, Role::write, kAccess);
    refused_with(
        [](Fixture& f) {
            f.peer.rkey = f.region.dirty_rkey;
            return f.peer.fetch_add(0, 1);
        },
        Refusal::access_right, Role::write, kAccess);
    refused_with(nullptr, Refusal::access_right, Role::read, kAccess);
    refused_with(nullptr, Refusal::access_right, Role::recover, kAccess);
    refused_with(
        [](Fixture& f) {
            Request request = f.peer.message(pattern(16, 1));
            request.opcode = Opcode::rc_send_only_inv;
            return request;
        },
        Refusal::invalidate, Role::write, kAccess);
}

BOOST_AUTO_TEST_CASE(a_full_appliance_refuses_and_changes_nothing) {
    Fixture f({.frame_bytes = 16 << 20}, 64 << 20, 0, true);
    uint64_t page = 0;
    std::vector<Answer> answers;
    do
        answers = f.peer.exchange(f.peer.fetch_add(page++ * 4096, 1));
    while (answers.at(0).opcode == Opcode::rc_atomic_ack);
    BOOST_TEST(int(answers[0].syndrome) == int(kOperation));
    BOOST_TEST(refused(*f.link.server, Refusal::no_frames) == 1U);
    BOOST_TEST(f.word((page - 1) * 4096) == 0U);
    BOOST_TEST(f.link.frames_in_use() == f.region.present);
}

// Pages that another connection's WRITE has brought in the same burst are published after the atomics: their
// old frames need the room that is left.
BOOST_AUTO_TEST_CASE(the_retire_queue_keeps_room_for_staged_pages) {
    Fixture f;
    RawPeer other(f.link, f.region);
    f.peer.exchange(f.peer.write_only(4096, pattern(4096, 1)));
    f.peer.exchange(f.peer.fetch_add(0, 1));
    other.exchange(other.fetch_add(8192, 1));
    rte_rcu_qsbr_thread_register(f.link.server_rcu, 1);
    rte_rcu_qsbr_thread_online(f.link.server_rcu,
                               1);  // a second lcore that stands still: no frame comes back
    const uint32_t capacity = f.link.server->retire()->room();
    uint64_t adds = 1;
    for (; f.link.server->retire()->room() > 2; adds++)
        f.peer.exchange(f.peer.fetch_add(0, 1));
    f.peer.send(f.peer.write_only(4096, pattern(4096, 2)));
    other.send(other.fetch_add(8192, 1));
    other.send(other.fetch_add(8192, 1));
    f.peer.answers();
    BOOST_TEST(f.link.server->retire()->room() == 0U);
    BOOST_TEST(dropped(*f.link.server, DropReason::retire_full) == 1U);
    rte_rcu_qsbr_thread_offline(f.link.server_rcu, 1);
    f.peer.answers(64);  // polls: each gives back a part
    BOOST_TEST(f.link.server->retire()->room() == capacity);
    BOOST_TEST(f.word(0) == adds);
    BOOST_TEST(f.word(8192) == 2U);
    BOOST_TEST(f.memory(4096, 4096) == pattern(4096, 2));
    BOOST_TEST(f.link.frames_in_use() == f.region.present);
}

// Our own requester, over a link that loses a tenth: each is done once, and each answer is that of its own.
BOOST_AUTO_TEST_CASE(our_requester_over_a_bad_link) {
    Loopback link({.ack_timeout = 8, .retry_count = 250, .initiator_depth = 4});
    auto& region = link.make_region("r", 1 << 20);
    const auto pair = link.connect(region);
    for (Wire* wire : {link.to_server.get(), link.to_client.get()})
        wire->disturbance = {.drop_ppm = 100'000, .duplicate_ppm = 100'000, .reorder_ppm = 100'000};
    constexpr uint64_t kCount = 200;
    std::vector<uint64_t> found(2 * kCount, ~0ULL);
    for (uint64_t i = 0; i < kCount; i++) {  // the word goes i → 3i → i + 1
        auto* to = reinterpret_cast<std::byte*>(&found[2 * i]);
        BOOST_REQUIRE(link.poll_until([&] {
            return roce::post_compare_swap(*link.client, *pair.client, 2 * i, region.data_rkey, 64, to, i,
                                           3 * i);
        }));
        BOOST_REQUIRE(link.poll_until([&] {
            return roce::post_fetch_add(*link.client, *pair.client, 2 * i + 1, region.data_rkey, 64, to + 8,
                                        1 - 2 * i);
        }));
    }
    BOOST_REQUIRE(link.wait_completions(2 * kCount, 60'000));
    for (uint64_t i = 0; i < 2 * kCount; i++) {
        BOOST_TEST(link.log.entries[i].cookie == i);
        BOOST_TEST((link.log.entries[i].status == WorkStatus::success));
        BOOST_TEST(found[i] == (i % 2 == 0 ? i / 2 : 3 * (i / 2)));
    }
    BOOST_TEST(link.server->counters.atomics == 2 * kCount);
}
