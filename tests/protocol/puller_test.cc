// SPDX-License-Identifier: BSD-3-Clause
// A puller: orders of another thread, carried out on a connection that we opened.
#define BOOST_TEST_MODULE puller
#include "datapath/puller.h"

#include <atomic>
#include <set>
#include <thread>

#include "datapath/capsule.h"
#include "tests/protocol/peer_fixture.h"

using namespace lagan;
using namespace lagan::test;
using memory::kPageBytes;
using roce::WorkStatus;

namespace {

constexpr uint64_t kPages = 1024;

struct Pulling {
    explicit Pulling(LoopbackOptions options = {}, Role role = Role::recover)
        : link((options.initiator_depth = options.responder_resources = 128, options)),
          region(link.make_region("r", kPages * kPageBytes)),
          pair(link.connect(region, role)) {
        const Loopback::Pair writer = link.connect(region);
        for (uint64_t page = 0; page < kPages; page++) {
            const Bytes bytes = pattern(kPageBytes, static_cast<uint8_t>(page));
            BOOST_REQUIRE(link.write(writer, region.data_rkey, page * kPageBytes, bytes.data(), kPageBytes) ==
                          WorkStatus::success);
        }
        BOOST_REQUIRE(link.client->attach_puller(*pair.client, puller));
        link.settle();
    }
    // The engine must have forgotten the puller before that goes.
    ~Pulling() {
        puller.stop();
        link.settle();
    }

    bool order(uint64_t page, uint32_t rkey) {
        return puller.read(page + 1, rkey, page * kPageBytes, memory.data() + page * kPageBytes, kPageBytes);
    }
    // Polls, taking what is completed, until nothing is outstanding. Each once, and in order.
    std::vector<Puller::Completion> finish() {
        std::vector<Puller::Completion> all;
        const bool ended = link.poll_until([&] {
            Puller::Completion some[16];
            const size_t count = puller.take_completions(some);
            all.insert(all.end(), some, some + count);
            return puller.outstanding() == 0;
        });
        BOOST_TEST(ended);
        for (size_t i = 1; i < all.size(); i++)
            BOOST_TEST(all[i].cookie == all[i - 1].cookie + 1);
        return all;
    }
    // All pages, with as many orders on their way as may be.
    std::vector<Puller::Completion> pull_all() {
        for (uint64_t page = 0; page < kPages; page++)
            BOOST_REQUIRE(order(page, region.data_rkey));
        return finish();
    }
    void check_all() {
        for (uint64_t page = 0; page < kPages; page++) {
            const Bytes expected = pattern(kPageBytes, static_cast<uint8_t>(page));
            BOOST_TEST_REQUIRE(
                std::equal(expected.begin(), expected.end(),
                           reinterpret_cast<const uint8_t*>(memory.data()) + page * kPageBytes));
        }
    }

    Loopback link;
    memory::Region& region;
    Loopback::Pair pair;
    Puller puller;
    std::vector<std::byte> memory = std::vector<std::byte>(kPages * kPageBytes);
};

size_t successes(const std::vector<Puller::Completion>& all) {
    return static_cast<size_t>(std::count_if(all.begin(), all.end(), [](const auto& completion) {
        return completion.status == WorkStatus::success;
    }));
}

}  // namespace

BOOST_AUTO_TEST_CASE(reads_pages_into_place) {
    Pulling p;
    const auto all = p.pull_all();
    BOOST_TEST(all.size() == kPages);
    BOOST_TEST(successes(all) == kPages);
    p.check_all();
    BOOST_TEST(!p.puller.over());
}

// As deep as was negotiated, and no deeper than orders may be.
BOOST_AUTO_TEST_CASE(depth) {
    Pulling p({.ack_timeout = 0});  // a requester that repeats itself has less on its way for a moment
    uint32_t deepest = 0;
    for (uint64_t page = 0; page < kPages; page++)
        BOOST_REQUIRE(p.order(page, p.region.data_rkey));
    BOOST_TEST(!p.puller.read(kPages + 1, p.region.data_rkey, 0, p.memory.data(), kPageBytes));
    std::vector<Puller::Completion> some(kPages);
    BOOST_TEST(p.link.poll_until([&] {
        deepest = std::max(deepest, p.pair.client->requester.resources_in_flight);
        p.puller.take_completions(some);
        return p.puller.outstanding() == 0;
    }));
    poll_once(*p.link.client);
    BOOST_TEST(deepest <= 128U);
    for (uint64_t page = 0; page < 200; page++)
        BOOST_REQUIRE(p.order(page, p.region.data_rkey));
    for (int i = 0; i < 8; i++)
        poll_once(*p.link.client);  // the server does not answer
    BOOST_TEST(p.pair.client->requester.resources_in_flight == 128U);
    BOOST_TEST(successes(p.finish()) == 200U);
}

BOOST_AUTO_TEST_CASE(loss_and_disorder) {
    for (const uint16_t mtu : {uint16_t{4096}, uint16_t{1024}}) {
        Pulling p({.mtu_bytes = mtu, .seed = mtu});
        const Disturbance bad{.drop_ppm = 20'000,
                              .duplicate_ppm = 20'000,
                              .reorder_ppm = 20'000,
                              .corrupt_ppm = 5'000,
                              .ghost_ppm = 5'000};
        p.link.to_server->disturbance = p.link.to_client->disturbance = bad;
        const auto all = p.pull_all();
        BOOST_TEST(successes(all) == kPages);
        p.check_all();
    }
}

BOOST_AUTO_TEST_CASE(a_peer_that_falls_silent) {
    Pulling p({.ack_timeout = 6, .retry_count = 2});
    uint64_t passed = 0;
    p.link.to_client->filter = [&](rte_mbuf*) { return ++passed <= 100; };
    const auto all = p.pull_all();
    BOOST_TEST(all.size() == kPages);
    const size_t good = successes(all);
    BOOST_TEST(good >= 1U);
    BOOST_TEST(good <= 100U);
    for (size_t i = 0; i < good; i++)
        BOOST_TEST(all[i].status == WorkStatus::success);
    BOOST_TEST(all[good].status == WorkStatus::retry_exceeded);
    for (size_t i = good + 1; i < all.size(); i++)
        BOOST_TEST(all[i].status == WorkStatus::flushed);
    p.link.settle();
    BOOST_TEST(p.puller.over());
    BOOST_TEST(!p.order(0, p.region.data_rkey));
}

BOOST_AUTO_TEST_CASE(an_order_that_is_refused) {
    Pulling p;
    BOOST_REQUIRE(p.order(0, p.region.data_rkey));
    BOOST_REQUIRE(p.order(1, 12345));
    BOOST_REQUIRE(p.order(2, p.region.data_rkey));
    const auto all = p.finish();
    BOOST_REQUIRE(all.size() == 3U);
    BOOST_TEST(all[0].status == WorkStatus::success);
    BOOST_TEST(all[1].status == WorkStatus::remote_access);
    BOOST_TEST(all[2].status == WorkStatus::flushed);
}

BOOST_AUTO_TEST_CASE(stopped_with_orders_outstanding) {
    Pulling p;
    for (uint64_t page = 0; page < kPages; page++)
        BOOST_REQUIRE(p.order(page, p.region.data_rkey));
    for (int i = 0; i < 3; i++)
        p.link.poll();
    p.puller.stop();
    const auto all = p.finish();
    BOOST_TEST(all.size() == kPages);
    BOOST_TEST(successes(all) < kPages);
    BOOST_TEST(p.puller.over());
    // Nothing comes to the memory any more, whatever is still on the wire.
    const std::vector<std::byte> before = p.memory;
    p.link.settle();
    BOOST_TEST((before == p.memory));
}

BOOST_AUTO_TEST_CASE(closed_with_orders_outstanding) {
    Pulling p;
    for (uint64_t page = 0; page < kPages; page++)
        BOOST_REQUIRE(p.order(page, p.region.data_rkey));
    for (int i = 0; i < 3; i++)
        p.link.poll();
    p.link.disconnect(p.pair);
    const auto all = p.finish();
    BOOST_TEST(all.size() == kPages);
    BOOST_TEST(successes(all) < kPages);
    BOOST_TEST(p.puller.over());
    BOOST_TEST(p.link.client->pullers.empty());
}

BOOST_AUTO_TEST_CASE(messages_and_their_answers) {
    Pulling p;
    capsule::Header request{};
    request.version = capsule::kVersion;
    request.opcode = static_cast<uint8_t>(capsule::Opcode::region_info);
    request.tag = 7;
    for (uint64_t i = 1; i <= 20; i++)  // more than the slots of a queue pair
        BOOST_REQUIRE(p.puller.send(i, std::as_bytes(std::span(&request, 1))));
    BOOST_TEST(!p.puller.send(21, std::vector<std::byte>(kMaxMessageBytes + 1)));
    size_t answers = 0;
    BOOST_TEST(p.link.poll_until([&] {
        std::byte answer[kMaxMessageBytes];
        if (p.puller.take_message(answer) != 0) {
            const auto& info = *reinterpret_cast<const capsule::RegionInfo*>(answer);
            BOOST_TEST(uint32_t(info.header.tag) == 7U);
            BOOST_TEST(uint64_t(info.size_bytes) == kPages * kPageBytes);
            answers++;
        }
        return answers == 20;
    }));
    BOOST_TEST(successes(p.finish()) == 20U);
}

// What lagand's own probe of a silent peer brings is nobody's order.
BOOST_AUTO_TEST_CASE(a_probe_is_no_completion) {
    Pulling p;
    p.link.client->probe_qp(*p.pair.client);
    p.link.settle();
    BOOST_TEST(p.link.client->counters.probes == 1U);
    Puller::Completion some[1];
    BOOST_TEST(p.puller.take_completions(some) == 0U);
}

// The worker on a thread of its own, while the engines go round here; closed in the middle at the end.
BOOST_AUTO_TEST_CASE(another_thread) {
    Pulling p;
    std::atomic<bool> done = false;
    std::atomic<uint64_t> taken = 0;
    uint64_t ordered = 0, failed = 0;
    std::jthread worker([&] {
        Puller::Completion some[16];
        const auto take = [&] {
            const size_t count = p.puller.take_completions(some);
            for (size_t i = 0; i < count; i++)
                failed += some[i].status != WorkStatus::success;
            taken += count;
        };
        while (!p.puller.over()) {
            if (p.order(ordered % kPages, p.region.data_rkey)) ordered++;
            take();
        }
        while (p.puller.outstanding() != 0)
            take();
        done = true;
    });
    BOOST_TEST(p.link.poll_until([&] { return taken > 20'000; }));
    p.puller.stop();
    BOOST_TEST(p.link.poll_until([&] { return done.load(); }));
    worker.join();
    BOOST_TEST(taken == ordered);
    BOOST_TEST(failed <= Puller::kMaxOrders);
    p.check_all();
}

// ---- A peer that does not keep to the rules ----

namespace {

// The server engine as the one that pulls.
struct Hostile {
    Hostile() : peer(link, link.make_region("r", 1 << 20), Role::none) {
        BOOST_REQUIRE(link.server->attach_puller(peer.qp, puller));
        peer.answers();
    }
    ~Hostile() {
        puller.stop();
        peer.answers();
    }
    std::vector<Puller::Completion> completions() {
        std::vector<Puller::Completion> all(16);
        all.resize(puller.take_completions(all));
        return all;
    }
    // A READ response with so much payload, to the PSN of the first order.
    void respond(roce::Opcode opcode, size_t bytes) {
        peer.send({.opcode = opcode, .psn = 0, .payload = Frame(bytes, 0x55)});
        peer.answers();
    }

    Loopback link{{.ack_timeout = 0}};
    Puller puller;
    RawPeer peer;
    std::vector<std::byte> memory = std::vector<std::byte>(3 * kPageBytes);
    std::byte* page = memory.data() + kPageBytes;
};

}  // namespace

BOOST_AUTO_TEST_CASE(responses_of_a_wrong_length) {
    for (const size_t bytes : {0U, 4U, 2048U, 4092U}) {
        Hostile h;
        BOOST_REQUIRE(h.puller.read(1, 1, 0, h.page, kPageBytes));
        BOOST_REQUIRE(h.puller.read(2, 1, 0, h.page, kPageBytes));
        h.peer.answers();
        h.respond(roce::Opcode::rc_read_response_only, bytes);
        const auto all = h.completions();
        BOOST_REQUIRE(all.size() == 2U);
        BOOST_TEST(all[0].status == WorkStatus::bad_response);
        BOOST_TEST(all[1].status == WorkStatus::flushed);
        BOOST_TEST(std::count(h.memory.begin(), h.memory.end(), std::byte{0}) ==
                   static_cast<ptrdiff_t>(h.memory.size()));
        BOOST_TEST(h.puller.over());
    }
}

BOOST_AUTO_TEST_CASE(more_than_was_asked_for) {
    Hostile h;
    BOOST_REQUIRE(h.puller.read(1, 1, 0, h.page, 512));
    h.peer.answers();
    h.respond(roce::Opcode::rc_read_response_only, 4096);
    const auto all = h.completions();
    BOOST_REQUIRE(all.size() == 1U);
    BOOST_TEST(all[0].status == WorkStatus::bad_response);
    BOOST_TEST(std::count(h.memory.begin(), h.memory.end(), std::byte{0}) ==
               static_cast<ptrdiff_t>(h.memory.size()));
}

BOOST_AUTO_TEST_CASE(answers_that_nobody_asked_for) {
    Hostile h;
    h.respond(roce::Opcode::rc_read_response_only, 4096);
    BOOST_TEST(dropped(*h.link.server, DropReason::response_unexpected) == 1U);
    BOOST_TEST(h.completions().empty());
    BOOST_TEST(!h.puller.over());
}

// Capsules that it sends us are not served, and more of them than anybody takes are held up.
BOOST_AUTO_TEST_CASE(messages_that_nobody_asked_for) {
    Hostile h;
    capsule::Header request{};
    request.version = capsule::kVersion;
    request.opcode = static_cast<uint8_t>(capsule::Opcode::region_info);
    const auto* bytes = reinterpret_cast<const uint8_t*>(&request);
    uint64_t rnr = 0;
    for (int i = 0; i < 100; i++) {
        const uint32_t psn = h.peer.psn;
        for (const Answer& answer : h.peer.exchange(h.peer.message(Frame(bytes, bytes + sizeof request)))) {
            BOOST_TEST(answer.opcode == roce::Opcode::rc_ack);  // and no SEND of ours
            if (roce::is_rnr_nak(answer.syndrome)) {
                rnr++;
                h.peer.psn = psn;
            }
        }
    }
    BOOST_TEST(rnr > 50U);
    BOOST_TEST(h.link.server->counters.capsules == 0U);
    std::byte message[64];
    uint32_t taken = 0;
    while (h.puller.take_message(message) != 0) {
        taken++;
        h.peer.answers();
    }
    BOOST_TEST(taken == 100U - rnr);
}

// It reaches no memory of ours.
BOOST_AUTO_TEST_CASE(requests_of_a_peer) {
    Hostile h;
    const auto answers = h.peer.exchange(h.peer.write_only(0, Frame(64, 1)));
    BOOST_REQUIRE(answers.size() == 1U);
    BOOST_TEST(int(answers[0].syndrome) == int(kAccess));
    h.peer.answers();
    BOOST_TEST(h.puller.over());
}
