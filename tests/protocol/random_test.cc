// SPDX-License-Identifier: BSD-3-Clause
// Random operations over a link that loses, repeats, swaps, delays and corrupts packets, compared with plain
// memory. Quick by default; LAGAN_TEST_LONG=1 runs for millions of operations. The timers run on real time,
// so that a seed repeats the operations and the disturbance, but not the last detail of every retransmission.
#define BOOST_TEST_MODULE random_protocol
#include <boost/test/unit_test.hpp>

#include "tests/protocol/random_client.h"
#include "tests/protocol/rebuilder.h"
#include "tests/unit/logged_seed.h"

using namespace lagan;
using lagan::test::Disturbance;
using lagan::test::Loopback;
using lagan::test::LoopbackOptions;
using lagan::test::Model;
using lagan::test::RandomClient;
using lagan::test::RandomLimits;

namespace {

constexpr uint64_t kRegionBytes = 6ULL << 20;

struct Round {
    LoopbackOptions link;
    Disturbance to_server, to_client;
    RandomLimits limits;
    uint32_t clients = 3;
    uint32_t operations = 400;
    bool rebuilding = false;  // all pages are elsewhere at the start
};

struct Router final : roce::CompletionSink {
    std::vector<std::unique_ptr<RandomClient>> clients;
    void complete(Qp& qp, uint64_t cookie, roce::WorkStatus status) override {
        for (const auto& client : clients)
            if (client->qp() == &qp) client->complete(cookie, status);
    }
};

uint64_t dropped(const Engine& engine, DropReason reason) {
    return engine.counters.drops[static_cast<unsigned>(reason)];
}

test::Tally sum_of(const Router& router) {
    test::Tally sum;
    for (const auto& client : router.clients)
        sum += client->tally;
    return sum;
}

// The content of a region that is rebuilt: here and there a page of zeros.
test::Bytes content_elsewhere(std::mt19937_64& random) {
    test::Bytes content(kRegionBytes);
    for (uint64_t at = 0; at < kRegionBytes; at += memory::kPageBytes)
        if (random() % 8 != 0)
            std::generate_n(&content[at], memory::kPageBytes, [&] { return static_cast<uint8_t>(random()); });
    return content;
}

void run_operations(Loopback& link, Router& router, uint32_t operations, test::Rebuilder* rebuilder) {
    uint32_t left = operations;
    const auto step = [&] {
        if (rebuilder != nullptr) rebuilder->work(link.random);
        for (const auto& client : router.clients) {
            client->check_results();
            if (client->failed()) client->recover();
            for (uint64_t tries = link.random() % 4; tries != 0 && left != 0; tries--)
                left -= client->post_one();
        }
        return left == 0 && std::all_of(router.clients.begin(), router.clients.end(), [](const auto& client) {
                   return client->idle() && !client->failed();
               });
    };
    // As long as it takes, if only some operation ends in this time.
    constexpr uint32_t kHangsMs = 60'000;
    uint64_t ended = 0;
    while (!link.poll_until(step, kHangsMs)) {
        const uint64_t now = sum_of(router).ended();
        if (now == ended)
            for (const auto& client : router.clients)
                BOOST_TEST_MESSAGE(client->describe());
        BOOST_REQUIRE_MESSAGE(now != ended, "operations hang");
        ended = now;
    }
}

void check_memory(Loopback& link, const memory::Region& region, const Model& committed) {
    const test::Bytes actual = test::memory_of(region, *link.frames);
    const auto [wrong, right] = std::mismatch(actual.begin(), actual.end(), committed.at(0));
    if (wrong != actual.end())
        BOOST_FAIL("byte " << wrong - actual.begin() << " is " << int(*wrong) << ", not " << int(*right));
    for (uint64_t page = 0; page < region.page_count; page++)
        BOOST_REQUIRE_MESSAGE(!committed.changed(page) || region.active().is_marked(page),
                              "page " << page << " has changed and is not in the dirty list");
    BOOST_TEST(region.present == test::present_pages(region));
    BOOST_TEST(link.frames_in_use() == test::present_pages(region));
}

// Everything arrives in the end, and is carried out once.
void check_counters(Loopback& link, const Router& router, const Round& round) {
    const test::Tally sum = sum_of(router);
    const Counters& server = link.server->counters;
    if (sum.failures == 0) {
        BOOST_TEST(server.reads == sum.reads);
        BOOST_TEST(server.write_messages == sum.writes);
        BOOST_TEST(server.atomics == sum.atomics);
        BOOST_TEST(server.write_bytes == sum.write_bytes);
        BOOST_TEST(server.capsules == sum.capsules());
    }
    BOOST_TEST(server.capsule_errors == 0U);
    for (uint64_t refusals : server.refusals)
        BOOST_TEST(refusals == 0U);
    for (uint64_t refusals : link.client->counters.refusals)
        BOOST_TEST(refusals == 0U);
    BOOST_TEST(server.rx_packets == link.to_server->delivered);
    BOOST_TEST(link.client->counters.rx_packets == link.to_client->delivered);
    for (const Engine* engine : {link.server.get(), link.client.get()}) {
        for (DropReason reason :
             {DropReason::no_mbuf, DropReason::retire_full, DropReason::tx_full, DropReason::ring_full_punt})
            BOOST_TEST(dropped(*engine, reason) == 0U, drop_reason_name(reason)
                                                           << " " << dropped(*engine, reason));
        if (round.to_server.corrupt_ppm + round.to_client.corrupt_ppm == 0)
            BOOST_TEST(dropped(*engine, DropReason::icrc) == 0U);
    }
    BOOST_TEST_MESSAGE("  " << sum.reads << " reads, " << sum.writes << " writes, " << sum.atomics
                            << " atomics, " << sum.capsules() << " capsules, " << sum.failures
                            << " failures; " << server.duplicates << " duplicates, "
                            << link.client->counters.retransmits << " retransmits, "
                            << link.client->counters.timeouts << " timeouts, " << server.rx_packets
                            << " packets in, " << server.tx_packets << " out");
}

void run(const Round& round) {
    const LoopbackOptions& o = round.link;
    BOOST_TEST_MESSAGE("MTU " << o.mtu_bytes << (o.ipv6 ? " IPv6" : " IPv4")
                              << (o.server_linear ? " linear" : " chained") << " PSN " << o.psn
                              << " drop/duplicate/reorder/corrupt/ghost ppm " << round.to_server.drop_ppm
                              << '/' << round.to_server.duplicate_ppm << '/' << round.to_server.reorder_ppm
                              << '/' << round.to_server.corrupt_ppm << '/' << round.to_server.ghost_ppm);
    Loopback link(o);
    const test::Bytes content = round.rebuilding ? content_elsewhere(link.random) : test::Bytes(kRegionBytes);
    std::optional<test::Rebuilder> rebuilder;
    if (round.rebuilding) rebuilder.emplace(link, content);
    memory::Region& region = rebuilder ? rebuilder->region : link.make_region("random", kRegionBytes);
    Model posted(content), committed(content);
    Router router;
    link.client->completions = &router;
    // Stripes that end anywhere: neighbours share a page.
    uint64_t begin = 0;
    for (uint32_t i = 0; i < round.clients; i++) {
        const uint64_t rest = kRegionBytes - begin;
        const uint64_t end = i + 1 == round.clients
                                 ? kRegionBytes
                                 : begin + rest / (round.clients - i) / 2 + link.random() % (rest / 4);
        router.clients.push_back(
            std::make_unique<RandomClient>(link, region, begin, end, posted, committed, round.limits));
        begin = end;
    }
    link.to_server->disturbance = round.to_server;
    link.to_client->disturbance = round.to_client;
    run_operations(link, router, round.operations, rebuilder ? &*rebuilder : nullptr);
    if (rebuilder) {
        BOOST_TEST_MESSAGE("  " << region.pending << " of " << region.page_count
                                << " pages are still pending, " << link.server->counters.rnr_naks
                                << " RNR NAKs");
        BOOST_TEST(region.pending.load() != 0U);  // it was so all the time
        rebuilder->finish();
        BOOST_TEST(region.pending.load() == 0U);
    }
    link.to_server->disturbance = link.to_client->disturbance = {};
    for (int i = 0; i < 300; i++)
        link.poll();  // the last ghosts
    link.settle();
    check_memory(link, region, committed);
    check_counters(link, router, round);
}

Disturbance all_of(uint32_t ppm) {
    return {.drop_ppm = ppm, .duplicate_ppm = ppm, .reorder_ppm = ppm, .corrupt_ppm = ppm, .ghost_ppm = ppm};
}

Disturbance random_disturbance(std::mt19937_64& random) {
    const auto ppm = [&] {
        constexpr uint32_t kPpm[] = {0, 0, 1'000, 10'000, 50'000, 100'000, 200'000};
        return kPpm[random() % std::size(kPpm)];
    };
    return {.drop_ppm = ppm(),
            .duplicate_ppm = ppm(),
            .reorder_ppm = ppm(),
            .corrupt_ppm = ppm(),
            .ghost_ppm = ppm()};
}

LoopbackOptions random_link(std::mt19937_64& random) {
    return {.mtu_bytes = static_cast<uint16_t>(256U << random() % 5),
            .ipv6 = random() % 2 == 0,
            .server_linear = random() % 2 == 0,
            .psn = random() % 2 == 0 ? 0xffff00 + static_cast<uint32_t>(random() % 256)
                                     : static_cast<uint32_t>(random() & 0xffffff),
            .ack_timeout = 8,  // 1 ms: this machine may be busy with other things
            .retry_count = 250,
            .responder_resources = static_cast<uint8_t>(1 + random() % 16),
            .initiator_depth = 1,
            .seed = random()};
}

bool long_run() {
    const char* wanted = std::getenv("LAGAN_TEST_LONG");
    return wanted != nullptr && *wanted == '1';
}

}  // namespace

BOOST_AUTO_TEST_CASE(undisturbed) {
    std::mt19937_64 random = test::seeded_random();
    for (int i = 0; i < (long_run() ? 20 : 3); i++) {
        Round round{.link = random_link(random), .operations = long_run() ? 20'000U : 600U};
        round.link.initiator_depth = round.link.responder_resources;
        run(round);
    }
}

BOOST_AUTO_TEST_CASE(disturbed_a_little) {
    std::mt19937_64 random = test::seeded_random();
    for (uint32_t ppm : {1'000U, 10'000U}) {
        Round round{.link = random_link(random),
                    .to_server = all_of(ppm),
                    .to_client = all_of(ppm),
                    .operations = long_run() ? 100'000U : 600U};
        round.link.initiator_depth = round.link.responder_resources;
        run(round);
    }
}

// Where the number counts: up to a page at a time, from a thousandth to a fifth of everything disturbed.
BOOST_AUTO_TEST_CASE(disturbed_small_operations) {
    std::mt19937_64 random = test::seeded_random();
    constexpr struct {
        uint32_t ppm, operations;  // the more disturbed, the longer each takes
    } kRounds[] = {{1'000, 1'000'000}, {10'000, 1'000'000}, {50'000, 400'000}, {200'000, 40'000}};
    for (const auto& [ppm, operations] : kRounds) {
        Round round{.link = random_link(random),
                    .to_server = all_of(ppm),
                    .to_client = all_of(ppm),
                    .operations = long_run() ? operations : 2'000U};
        round.link.initiator_depth = round.link.responder_resources;
        round.limits.max_bytes = 4096;
        run(round);
    }
}

BOOST_AUTO_TEST_CASE(disturbed_in_many_ways) {
    std::mt19937_64 random = test::seeded_random();
    for (int i = 0; i < (long_run() ? 200 : 6); i++) {
        Round round{.link = random_link(random),
                    .to_server = random_disturbance(random),
                    .to_client = random_disturbance(random),
                    .operations = long_run() ? 5'000U : 150U};
        round.link.initiator_depth = round.link.responder_resources;
        round.limits.max_bytes = 256 << 10;
        run(round);
    }
}

// The region's pages come while it is in use.
BOOST_AUTO_TEST_CASE(while_it_is_rebuilt) {
    std::mt19937_64 random = test::seeded_random();
    for (int i = 0; i < (long_run() ? 60 : 4); i++) {
        Round round{.link = random_link(random), .operations = 250, .rebuilding = true};
        if (i % 2 == 1) round.to_server = round.to_client = all_of(10'000);
        round.link.initiator_depth = round.link.responder_resources;
        round.limits.max_bytes = 16 << 10;
        run(round);
    }
}

// With the protocol's seven retries a fifth of everything lost ends connections: what was outstanding is then
// done or not, nothing else, and the next connection goes on.
BOOST_AUTO_TEST_CASE(connections_that_fail) {
    std::mt19937_64 random = test::seeded_random();
    for (int i = 0; i < (long_run() ? 40 : 4); i++) {
        Round round{.link = random_link(random),
                    .to_server = all_of(200'000),
                    .to_client = all_of(200'000),
                    .operations = long_run() ? 2'000U : 80U};
        round.link.initiator_depth = round.link.responder_resources;
        round.link.retry_count = static_cast<uint8_t>(random() % 8);
        round.limits = {.max_bytes = 64 << 10, .max_outstanding = 8, .may_fail = true};
        run(round);
    }
}
