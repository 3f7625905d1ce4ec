// SPDX-License-Identifier: BSD-3-Clause
// RDMA CM: messages that are lost, repeated, late, damaged or invented.
#define BOOST_TEST_MODULE connection_loss
#include "datapath/cm/connection_manager.h"

#include <boost/test/unit_test.hpp>

#include "tests/unit/cm_peers.h"
#include "tests/unit/logged_seed.h"

using namespace lagan;
using namespace lagan::cm;
using namespace lagan::test;
BOOST_TEST_GLOBAL_FIXTURE(ControlEal);

BOOST_AUTO_TEST_CASE(a_repeated_req_makes_one_connection) {
    Network network;
    const auto req = good_request();
    const auto rep = only_answer<roce::CmReply>(network, {9, req});
    const auto again = only_answer<roce::CmReply>(network, {9, req});
    BOOST_TEST(again.local_comm_id == rep.local_comm_id);
    BOOST_TEST(again.local_qpn == rep.local_qpn);
    BOOST_TEST(network.asked == 1U);
    BOOST_TEST(network.server.provider.live.size() == 1U);
    answers(network, {9, rtu_for(rep)});
    BOOST_TEST(answers(network, {9, req}).empty());
    BOOST_TEST(network.server.count("req_duplicate") == 2U);
    // The same ids from another host are another connection's.
    auto other = req;
    other.primary.local_gid = host_port(3).addresses[0].address;
    network.server.feed(datagram({9, other}, 3, 1), network.now_us);
    BOOST_TEST(body_in<roce::CmReply>(network.server.io.take()).local_qpn != rep.local_qpn);
}

BOOST_AUTO_TEST_CASE(the_rep_is_repeated_until_the_rtu_or_the_first_packet) {
    Network network;
    auto req = good_request();
    req.local_cm_response_timeout = 14;  // 67 ms
    req.max_cm_retries = 3;
    const auto rep = only_answer<roce::CmReply>(network, {9, req});
    const auto reps_within = [&](uint64_t us) {
        size_t count = 0;
        for (const uint64_t end = network.now_us + us; network.now_us < end; network.now_us += 1000) {
            network.server.plane.tick(network.now_us);
            for (; !network.server.io.sent.empty(); network.server.io.sent.pop_front())
                ++count;
        }
        return count;
    };
    BOOST_TEST(reps_within(60'000) == 0U);
    BOOST_TEST(reps_within(100'000) == 2U);
    network.server.provider.received.insert(rep.local_qpn);
    BOOST_TEST(reps_within(kSecond) == 0U);
    BOOST_TEST(network.server.count("rtu_implied") == 1U);
    BOOST_TEST(network.server.established.contains(rep.local_qpn));

    ++req.local_comm_id;
    ++req.local_qpn;
    const auto second = only_answer<roce::CmReply>(network, {9, req});
    BOOST_TEST(reps_within(250'000) == 3U);
    network.now_us += 100'000;
    network.server.plane.tick(network.now_us);
    const auto rej = body_in<roce::CmReject>(network.server.io.take());
    BOOST_TEST((rej.reason == RejectReason::timeout));
    BOOST_TEST((rej.subject == roce::CmSubject::reply));
    BOOST_TEST((network.server.ended.at(second.local_qpn) == DisconnectReason::no_rtu));
}

BOOST_AUTO_TEST_CASE(an_mra_extends_the_wait_a_bounded_number_of_times) {
    Network network;
    auto req = good_request();
    req.local_cm_response_timeout = 14;
    req.max_cm_retries = 0;
    const auto rep = only_answer<roce::CmReply>(network, {9, req});
    const roce::CmReceiptAck mra{.local_comm_id = rep.remote_comm_id,
                                 .remote_comm_id = rep.local_comm_id,
                                 .subject = roce::CmSubject::reply,
                                 .service_timeout = 18};  // 1.07 s
    for (int i = 0; i < 5; ++i) {
        answers(network, {9, mra});
        if (i < 2) network.run(900'000);
    }
    BOOST_TEST(network.server.provider.live.size() == 1U);
    network.run(300'000);
    BOOST_TEST(network.server.provider.live.empty());
    BOOST_TEST(network.server.count("mra_received") == 5U);
}

BOOST_AUTO_TEST_CASE(whatever_a_peer_asks_for_it_confirms_in_time_or_not_at_all) {
    Network network({.max_half_open_us = 5 * kSecond});
    auto req = good_request();
    req.local_cm_response_timeout = 17;  // 537 ms
    req.max_cm_retries = 15;
    const auto rep = only_answer<roce::CmReply>(network, {9, req});
    answers(network, {9, roce::CmReceiptAck{.local_comm_id = rep.remote_comm_id,
                                            .remote_comm_id = rep.local_comm_id,
                                            .subject = roce::CmSubject::reply,
                                            .service_timeout = 24}});  // 69 s, as Linux does
    network.run(4'900'000);
    BOOST_TEST(network.server.ended.empty());
    network.run(200'000);
    BOOST_TEST((network.server.ended.at(rep.local_qpn) == DisconnectReason::no_rtu));

    ++req.local_comm_id;
    ++req.local_qpn;
    const auto second = only_answer<roce::CmReply>(network, {9, req});
    const uint64_t before = network.server.count("rep_sent");
    for (int i = 0; i < 100; ++i) {
        network.server.plane.tick(network.now_us += 100'000);
        network.server.io.sent.clear();
    }
    BOOST_TEST((network.server.ended.at(second.local_qpn) == DisconnectReason::no_rtu));
    BOOST_TEST(network.server.count("rep_sent") - before < 12U);  // not the 15 that its REQ wished
}

BOOST_AUTO_TEST_CASE(a_late_rep_is_rejected_so_that_the_peer_lets_go) {
    Network network;
    network.client.plane.neighbors().learn_from_request(0, network.params().path.remote_ip, host_port(1).mac,
                                                        0);
    network.connect(network.params());
    network.client.plane.tick(network.now_us);
    const Frame req = network.client.io.take();
    network.client.plane.connections().close_all();
    BOOST_TEST((network.outcome().result.status == ConnectStatus::closed));
    network.client.io.sent.clear();
    network.server.feed(req, network.now_us);
    BOOST_TEST(network.server.provider.live.size() == 1U);
    network.settle();
    BOOST_TEST(network.client.count("rej_sent_invalid_comm_id") == 1U);
    BOOST_TEST(network.server.provider.live.empty());
}

BOOST_AUTO_TEST_CASE(a_lost_rtu_is_sent_again_for_a_repeated_rep) {
    Network network;
    network.connect(network.params());
    network.client.plane.tick(network.now_us);  // ARP
    network.exchange(network.client, network.server);
    network.exchange(network.server, network.client);
    network.client.plane.tick(network.now_us);  // REQ
    network.exchange(network.client, network.server);
    const Frame rep = network.server.io.sent.front().frame;
    for (int i = 0; i < 3; ++i)
        network.client.feed(rep, network.now_us);
    BOOST_TEST(network.client.count("rtu_sent") == 3U);
    BOOST_TEST(network.client.provider.live.size() == 1U);
    BOOST_TEST(network.client.established.size() == 1U);
    const auto info = network.client.plane.connections().list();
    BOOST_REQUIRE_EQUAL(info.size(), 1U);
    BOOST_TEST(info[0].active);
    BOOST_TEST(info[0].established);
}

BOOST_AUTO_TEST_CASE(without_mbufs_nothing_is_lost_but_time) {
    Network network;
    network.client.io.starved = network.server.io.starved = true;
    network.connect(network.params());
    network.run(200'000);
    BOOST_TEST(!network.outcomes.back().has_value());
    network.client.io.starved = false;
    network.run(600'000);
    network.server.io.starved = false;
    network.run(2 * kSecond);
    BOOST_TEST((network.outcome().result.status == ConnectStatus::established));
    BOOST_TEST(network.server.count("no_mbuf") > 0U);
}

// Whatever is lost, repeated or late, both sides end with the same connections, and with none after all are
// closed.
BOOST_AUTO_TEST_CASE(a_bad_network_leaves_no_half_connections) {
    auto random = seeded_random();
    Network network({.disconnect_retries = 15, .seed = random()});
    network.random = &random;
    network.loss = 20;
    network.repeat = 20;
    network.reorder = 15;
    auto params = network.params();
    params.max_retries = 15;
    params.response_timeout = 14;
    for (int i = 0; i < 100; ++i) {
        network.connect(params);
        if (i % 10 == 9) network.run(50'000);
    }
    network.run(30 * kSecond);
    for (const auto& outcome : network.outcomes) {
        BOOST_REQUIRE(outcome.has_value());
        BOOST_TEST((outcome->result.status == ConnectStatus::established));
    }
    BOOST_TEST(network.client.provider.live.size() == 100U);
    BOOST_TEST(network.server.provider.live.size() == 100U);
    BOOST_TEST(network.server.established.size() == 100U);
    for (const auto& [qpn, ours] : network.client.provider.live) {
        const auto theirs = network.server.provider.live.find(ours.dest_qpn);
        BOOST_REQUIRE((theirs != network.server.provider.live.end()));
        BOOST_TEST(theirs->second.dest_qpn == qpn);
        BOOST_TEST(theirs->second.send_psn == ours.receive_psn);
        BOOST_TEST(theirs->second.receive_psn == ours.send_psn);
    }
    unsigned done = 0;
    unsigned asked_to = 0;
    for (auto* side : {&network.client, &network.server}) {
        for (const auto& info : side->plane.connections().list()) {
            if (random() % 3 == 0 || side == &network.server) {
                asked_to += side->plane.connections().disconnect(info.qpn, [&] { ++done; });
            }
        }
    }
    network.run(30 * kSecond);
    BOOST_TEST(done == asked_to);
    BOOST_TEST(network.client.provider.live.empty());
    BOOST_TEST(network.server.provider.live.empty());
    BOOST_TEST(network.client.plane.connections().size() == 0U);
    BOOST_TEST(network.server.plane.connections().size() == 0U);
    BOOST_TEST(network.client.ended.size() == 100U);
    BOOST_TEST(network.server.ended.size() == 100U);
}

// Any message, with any ids and fields, in any state: nothing breaks, limits hold, and all is gone in the
// end.
BOOST_AUTO_TEST_CASE(hostile_messages_and_garbage_do_no_harm) {
    auto random = seeded_random();
    Network network(
        {.max_connections = 64, .max_half_open = 32, .max_half_open_per_source = 16, .seed = random()});
    network.established_connection();
    const auto captured = read_capture("rxe-rping.pcap");
    std::vector<Frame> seen;  // of both hosts' own, to be played back with changes
    for (const Frame& frame : captured)
        seen.push_back(frame);
    for (int round = 0; round < 30'000; ++round) {
        auto& side = random() % 4 != 0 ? network.server : network.client;
        Frame frame = seen[random() % seen.size()];
        const unsigned kind = static_cast<unsigned>(random() % 4);
        if (kind == 0 && !frame.empty()) frame[random() % frame.size()] = static_cast<uint8_t>(random());
        if (kind == 1) frame.resize(random() % (frame.size() + 8));
        roce::Packet packet{};
        // A valid ICRC over random fields, so that the CM itself is reached.
        if (kind >= 2 &&
            roce::decode(frame.data(), static_cast<uint32_t>(frame.size()), packet).result ==
                roce::DecodeResult::punt &&
            packet.info != nullptr && packet.payload_bytes == roce::kMadBytes) {
            auto* mad = frame.data() + (packet.payload - frame.data());
            for (unsigned i = 0, changes = static_cast<unsigned>(random() % 6); i < changes; ++i) {
                mad[random() % roce::kMadBytes] = static_cast<uint8_t>(random());
            }
            if (kind == 3) mad[17] = static_cast<uint8_t>(0x10 + random() % 7);
            const uint32_t state =
                roce::icrc_header_state(packet.ip, packet.is_ipv6, packet.transport_header_bytes());
            roce::icrc_store(mad + roce::kMadBytes, roce::crc32_raw(state, mad, roce::kMadBytes));
        }
        side.feed(frame, network.now_us);
        for (auto* host : {&network.server, &network.client}) {
            for (; !host->io.sent.empty(); host->io.sent.pop_front()) {
                if (seen.size() < 400)
                    seen.push_back(host->io.sent.front().frame);
                else
                    seen[random() % seen.size()] = host->io.sent.front().frame;
            }
        }
        network.decision.accepted = random() % 4 != 0;
        network.now_us += random() % 5000;
        network.server.plane.tick(network.now_us);
        network.client.plane.tick(network.now_us);
        BOOST_REQUIRE(network.server.plane.connections().size() <= 64U);
    }
    BOOST_TEST(network.server.count("accepted") > 0U);
    network.server.plane.connections().close_all();
    network.client.plane.connections().close_all();
    for (int i = 0; i < 1000; ++i) {
        network.now_us += 100'000;
        network.server.plane.tick(network.now_us);
        network.client.plane.tick(network.now_us);
        network.server.io.sent.clear();
        network.client.io.sent.clear();
    }
    BOOST_TEST(network.server.plane.connections().size() == 0U);
    BOOST_TEST(network.server.provider.live.empty());
    BOOST_TEST(network.client.provider.live.empty());
}
