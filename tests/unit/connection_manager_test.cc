// SPDX-License-Identifier: BSD-3-Clause
// RDMA CM: a captured REQ of Linux's, both sides against each other with and without loss, every refusal,
// every way to end, and input that nobody should send.
#define BOOST_TEST_MODULE connection_manager
#include "datapath/cm/connection_manager.h"

#include <boost/test/unit_test.hpp>
#include <functional>

#include "tests/unit/cm_peers.h"
#include "tests/unit/logged_seed.h"
#include "tests/unit/pcap_reader.h"

using namespace lagan;
using namespace lagan::cm;
using test::body_in;
using test::datagram;
using test::Frame;
using test::Network;
using ControlEal = test::ControlEal;
BOOST_TEST_GLOBAL_FIXTURE(ControlEal);

namespace {

constexpr uint64_t kSecond = 1'000'000;

// The REQ of host 2 to host 1 in rxe-rping.pcap.
Frame captured_req() {
    for (const Frame& frame : test::read_capture("rxe-rping.pcap")) {
        roce::Packet packet{};
        if (roce::decode(frame.data(), static_cast<uint32_t>(frame.size()), packet).result ==
                roce::DecodeResult::punt &&
            packet.info != nullptr) {
            return frame;
        }
    }
    throw std::runtime_error("no CM message in rxe-rping.pcap");
}

roce::CmRequest good_request() {
    return body_in<roce::CmRequest>(captured_req());
}

// Host 1's answers to a message from host 2.
std::vector<roce::CmMessage> answers(Network& network, const roce::CmMessage& message) {
    network.server.feed(datagram(message, 2, 1), network.now_us);
    std::vector<roce::CmMessage> all;
    while (!network.server.io.sent.empty())
        all.push_back(test::message_in(network.server.io.take()));
    return all;
}

template <typename Body>
Body only_answer(Network& network, const roce::CmMessage& message) {
    const auto all = answers(network, message);
    BOOST_REQUIRE_EQUAL(all.size(), 1U);
    BOOST_TEST(all[0].transaction_id == message.transaction_id);
    BOOST_REQUIRE(std::holds_alternative<Body>(all[0].body));
    return std::get<Body>(all[0].body);
}

roce::CmReadyToUse rtu_for(const roce::CmReply& rep) {
    return {.local_comm_id = rep.remote_comm_id, .remote_comm_id = rep.local_comm_id};
}

roce::CmDisconnectRequest dreq_for(const roce::CmReply& rep) {
    return {.local_comm_id = rep.remote_comm_id,
            .remote_comm_id = rep.local_comm_id,
            .remote_qpn = rep.local_qpn};
}

}  // namespace

BOOST_AUTO_TEST_CASE(linux_req_gets_a_rep) {
    Network network;
    const Frame frame = captured_req();
    const auto req = good_request();
    network.decision.private_data = {1, 2, 3};
    network.server.feed(frame, network.now_us);

    BOOST_TEST(network.last_request.service_port == test::kService);
    BOOST_TEST(network.last_request.source_port == 0x9eba);
    BOOST_TEST(network.last_request.remote_qpn == req.local_qpn);
    BOOST_TEST(network.last_request.remote_guid == req.ca_guid);
    BOOST_TEST(network.last_request.mtu_bytes == 4096);
    BOOST_TEST(network.last_private_data.size() == kMaxRequestData);
    BOOST_TEST(network.last_request.path.remote_ip.to_string() == "10.9.0.2");

    const Frame answer = network.server.io.take();
    BOOST_TEST(network.server.io.sent.empty());
    // Same shape and addresses as the answer that Linux gave.
    BOOST_TEST(answer.size() == frame.size());
    BOOST_TEST(std::equal(frame.begin(), frame.begin() + 6, answer.begin() + 6));
    BOOST_TEST(std::equal(frame.begin() + 6, frame.begin() + 12, answer.begin()));
    BOOST_TEST(std::equal(frame.begin() + 26, frame.begin() + 30, answer.begin() + 30));
    BOOST_TEST(test::message_in(answer).transaction_id == test::message_in(frame).transaction_id);
    const auto rep = body_in<roce::CmReply>(answer);
    BOOST_TEST(rep.remote_comm_id == req.local_comm_id);
    BOOST_TEST(rep.local_comm_id != 0U);
    BOOST_TEST(rep.ca_guid == network.server.plane.connections().guid());
    BOOST_TEST(rep.ca_guid != 0U);
    BOOST_TEST(rep.responder_resources == req.initiator_depth);
    BOOST_TEST(rep.initiator_depth == req.responder_resources);
    BOOST_TEST(rep.private_data[2] == 3);

    // The queue pair exists before the RTU: its first packet may come sooner.
    BOOST_REQUIRE_EQUAL(network.server.provider.live.size(), 1U);
    const QpAttributes& qp = network.server.provider.live.at(rep.local_qpn);
    BOOST_TEST(qp.dest_qpn == req.local_qpn);
    BOOST_TEST(qp.receive_psn == rep.starting_psn);
    BOOST_TEST(qp.send_psn == req.starting_psn);
    BOOST_TEST(qp.mtu_bytes == 4096);
    BOOST_TEST(qp.region_id == 42U);
    BOOST_TEST((qp.role == Role::write));
    BOOST_TEST(qp.path.udp_source_port >= 0xc000);
    BOOST_TEST(network.server.provider.last_engine == 3U);
    BOOST_TEST(network.server.established.empty());
    answers(network, {7, rtu_for(rep)});
    BOOST_TEST(network.server.established.contains(rep.local_qpn));
}

BOOST_AUTO_TEST_CASE(both_sides_agree_on_a_connection) {
    for (const bool ipv6 : {false, true}) {
        BOOST_TEST_CONTEXT((ipv6 ? "IPv6" : "IPv4")) {
            Network network;
            auto params = network.params(ipv6);
            params.initiator_depth = 128;  // as Linux clients ask
            params.responder_resources = 2;
            params.engine = 5;
            network.decision.max_responder_resources = 16;
            network.decision.private_data.assign(196, 0xab);
            network.connect(params);
            network.run(100'000);
            const auto& [result, private_data] = network.outcome();
            BOOST_REQUIRE((result.status == ConnectStatus::established));
            BOOST_TEST(private_data == std::vector<uint8_t>(196, 0xab));
            BOOST_TEST(network.last_private_data[0] == 'g');
            BOOST_TEST(network.last_private_data[5] == 0);

            const QpAttributes& theirs = network.server.provider.live.begin()->second;
            const QpAttributes& ours = network.client.provider.live.at(result.qpn);
            BOOST_TEST(ours.dest_qpn == theirs.qpn);
            BOOST_TEST(theirs.dest_qpn == ours.qpn);
            BOOST_TEST(ours.send_psn == theirs.receive_psn);
            BOOST_TEST(theirs.send_psn == ours.receive_psn);
            BOOST_TEST(ours.mtu_bytes == 4096);
            BOOST_TEST(theirs.mtu_bytes == 4096);
            BOOST_TEST(ours.initiator_depth == 16);
            BOOST_TEST(theirs.responder_resources == 16);
            BOOST_TEST(ours.responder_resources == 2);
            BOOST_TEST(theirs.initiator_depth == 2);
            BOOST_TEST((ours.path.remote_ip == theirs.path.local_ip));
            BOOST_TEST(rte_is_same_ether_addr(&ours.path.remote_mac, &theirs.path.local_mac));
            BOOST_TEST(rte_is_same_ether_addr(&theirs.path.remote_mac, &ours.path.local_mac));
            BOOST_TEST(network.client.provider.last_engine == 5U);
            BOOST_TEST(network.server.established.size() == 1U);
            BOOST_TEST(network.client.established.size() == 1U);
            BOOST_TEST(network.server.plane.connections().list().size() == 1U);
        }
    }
}

BOOST_AUTO_TEST_CASE(either_side_can_disconnect) {
    for (const bool by_server : {false, true}) {
        Network network;
        const uint32_t client_qpn = network.established_connection();
        const uint32_t server_qpn = network.server.provider.live.begin()->first;
        bool done = false;
        auto& side = by_server ? network.server : network.client;
        const uint32_t qpn = by_server ? server_qpn : client_qpn;
        BOOST_TEST(side.plane.connections().disconnect(qpn, [&] { done = true; }));
        BOOST_TEST(!side.plane.connections().disconnect(qpn));  // already ending
        BOOST_TEST(side.provider.live.empty());                 // at once
        BOOST_TEST(!done);
        network.settle();
        BOOST_TEST(done);
        BOOST_TEST(network.server.provider.live.empty());
        BOOST_TEST(network.client.provider.live.empty());
        BOOST_TEST((network.server.ended.at(server_qpn) ==
                    (by_server ? DisconnectReason::local : DisconnectReason::peer)));
        BOOST_TEST((network.client.ended.at(client_qpn) ==
                    (by_server ? DisconnectReason::peer : DisconnectReason::local)));
        BOOST_TEST(network.server.plane.connections().size() == 1U);  // waits
        network.run(2 * kSecond);
        BOOST_TEST(network.server.plane.connections().size() == 0U);
        BOOST_TEST(network.client.plane.connections().size() == 0U);
    }
}

BOOST_AUTO_TEST_CASE(both_sides_may_disconnect_at_once) {
    Network network;
    const uint32_t qpn = network.established_connection();
    int done = 0;
    network.client.plane.connections().disconnect(qpn, [&] { ++done; });
    network.server.plane.connections().disconnect(network.server.provider.live.begin()->first,
                                                  [&] { ++done; });
    network.settle();
    BOOST_TEST(done == 2);
    network.run(2 * kSecond);
    BOOST_TEST(network.server.plane.connections().size() == 0U);
    BOOST_TEST(network.client.plane.connections().size() == 0U);
    BOOST_TEST(network.client.count("disconnect_timeout") == 0U);
}

BOOST_AUTO_TEST_CASE(every_kind_of_refusal_has_its_reason_and_counter) {
    struct Case {
        const char* what;
        std::function<void(roce::CmRequest&)> change;
        RejectReason reason;
        const char* counter;
    };
    const Case kCases[] = {
        {"unreliable connection", [](auto& req) { req.transport_service = 1; },
         RejectReason::invalid_transport_type, "rej_sent_invalid_transport_type"},
        {"extended transport", [](auto& req) { req.extended_transport = 1; },
         RejectReason::invalid_transport_type, "rej_sent_invalid_transport_type"},
        {"another port", [](auto& req) { req.service_id = roce::service_id_of_port(1); },
         RejectReason::invalid_service_id, "rej_sent_invalid_service_id"},
        {"another port space", [](auto& req) { req.service_id += 1U << 24; },
         RejectReason::invalid_service_id, "rej_sent_invalid_service_id"},
        {"P_Key", [](auto& req) { req.pkey = 0x8001; }, RejectReason::unsupported, "rej_sent_unsupported"},
        {"IP CM version", [](auto& req) { req.private_data[0] = 0x10; }, RejectReason::unsupported,
         "rej_sent_unsupported"},
        {"IP version", [](auto& req) { req.private_data[1] = 0x50; }, RejectReason::unsupported,
         "rej_sent_unsupported"},
        {"their GID", [](auto& req) { req.primary.local_gid.bytes[15] = 9; }, RejectReason::invalid_gid,
         "rej_sent_invalid_gid"},
        {"our GID", [](auto& req) { req.primary.remote_gid.bytes[15] = 9; }, RejectReason::invalid_gid,
         "rej_sent_invalid_gid"},
        {"MTU code 0", [](auto& req) { req.path_mtu_code = 0; }, RejectReason::invalid_mtu,
         "rej_sent_invalid_mtu"},
        {"MTU code 6", [](auto& req) { req.path_mtu_code = 6; }, RejectReason::invalid_mtu,
         "rej_sent_invalid_mtu"},
    };
    for (const Case& c : kCases) {
        BOOST_TEST_CONTEXT(c.what) {
            Network network;
            auto req = good_request();
            c.change(req);
            const auto rej = only_answer<roce::CmReject>(network, {9, req});
            BOOST_TEST((rej.reason == c.reason));
            BOOST_TEST((rej.subject == roce::CmSubject::request));
            BOOST_TEST(rej.remote_comm_id == req.local_comm_id);
            BOOST_TEST(network.server.count(c.counter) == 1U);
            BOOST_TEST(network.asked == 0U);
            BOOST_TEST(network.server.plane.connections().size() == 0U);
        }
    }
}

BOOST_AUTO_TEST_CASE(nonsense_in_a_req_is_dropped) {
    const std::function<void(roce::CmRequest&)> changes[] = {
        [](auto& req) { req.local_comm_id = 0; },
        [](auto& req) { req.local_qpn = 0; },
        [](auto& req) { req.local_qpn = 1; },
        [](auto& req) { req.local_qpn = 0xffffff; },
    };
    for (const auto& change : changes) {
        Network network;
        auto req = good_request();
        change(req);
        BOOST_TEST(answers(network, {9, req}).empty());
        BOOST_TEST(network.server.count("mad_malformed") == 1U);
    }
}

BOOST_AUTO_TEST_CASE(a_path_mtu_must_fit_the_port) {
    BOOST_TEST(largest_path_mtu(1500) == 1024);
    BOOST_TEST(largest_path_mtu(4187) == 2048);
    BOOST_TEST(largest_path_mtu(4188) == 4096);
    BOOST_TEST(largest_path_mtu(9000) == 4096);
    BOOST_TEST(largest_path_mtu(347) == 0);
    BOOST_TEST(largest_path_mtu(60) == 0);
    test::KeepingIo io;
    test::StrictProvider provider(0x100);
    auto port = test::host_port(1);
    port.mtu = 1500;
    ControlPlane plane(io, {port}, provider);
    plane.connections().listen(test::kService,
                               [](const ConnectRequest&) { return AcceptDecision{.accepted = true}; });
    auto req = good_request();
    plane.on_punted(test::to_mbuf(datagram({1, req}, 2, 1), 0), 1);
    BOOST_TEST((body_in<roce::CmReject>(io.take()).reason == RejectReason::invalid_mtu));
    req.path_mtu_code = 3;
    plane.on_punted(test::to_mbuf(datagram({1, req}, 2, 1), 0), 1);
    BOOST_TEST(body_in<roce::CmReply>(io.take()).local_qpn == 0x100U);
    BOOST_TEST(provider.live.at(0x100).mtu_bytes == 1024);
}

BOOST_AUTO_TEST_CASE(the_service_refuses_with_its_own_words) {
    Network network;
    const std::string why = "grant expired";
    network.decision =
        AcceptDecision::reject(std::span(reinterpret_cast<const uint8_t*>(why.data()), why.size()));
    network.connect(network.params());
    network.run(100'000);
    const auto& [result, private_data] = network.outcome();
    BOOST_TEST((result.status == ConnectStatus::rejected));
    BOOST_TEST((result.reason == RejectReason::consumer_defined));
    BOOST_TEST(private_data.size() == kMaxRejectData);
    BOOST_TEST(std::equal(why.begin(), why.end(), private_data.begin()));
    BOOST_TEST(network.server.count("rej_sent_consumer") == 1U);
    BOOST_TEST(network.client.plane.connections().size() == 0U);
    BOOST_TEST(network.client.provider.numbers.empty());  // released
}

BOOST_AUTO_TEST_CASE(limits_are_no_resources) {
    Network network({.max_connections = 5, .max_half_open = 4, .max_half_open_per_source = 2});
    auto req = good_request();
    const auto ask = [&](uint8_t host) {
        ++req.local_comm_id;
        ++req.local_qpn;
        req.primary.local_gid = test::host_port(host).addresses[0].address;
        network.server.feed(datagram({1, req}, host, 1), network.now_us);
        return network.server.io.take();
    };
    const auto refused = [&](uint8_t host) {
        return body_in<roce::CmReject>(ask(host)).reason == RejectReason::no_resources;
    };
    const auto first = body_in<roce::CmReply>(ask(2));
    body_in<roce::CmReply>(ask(2));
    BOOST_TEST(refused(2));
    BOOST_TEST(network.server.count("limit_half_open_source") == 1U);
    body_in<roce::CmReply>(ask(3));
    body_in<roce::CmReply>(ask(4));
    BOOST_TEST(refused(5));
    BOOST_TEST(network.server.count("limit_half_open") == 1U);
    answers(network, {1, rtu_for(first)});
    body_in<roce::CmReply>(ask(5));
    BOOST_TEST(refused(6));
    BOOST_TEST(network.server.count("limit_connections") == 1U);
    BOOST_TEST(network.server.count("rej_sent_no_resources") == 3U);

    // Who never confirms loses the place in the end; host 2, which is there, says that it knows nothing of
    // it.
    network.run(90 * kSecond);
    BOOST_TEST(network.server.provider.live.size() == 1U);
    BOOST_TEST(network.server.count("rtu_timeout") == 3U);
    BOOST_TEST(network.server.count("rej_received") == 1U);
    body_in<roce::CmReply>(ask(2));
    network.server.provider.allocations_left = 0;
    BOOST_TEST(refused(3));
    network.server.provider.allocations_left = 1;
    network.server.provider.refuse_create = true;
    BOOST_TEST(refused(3));
    BOOST_TEST(network.server.provider.numbers.empty());
}

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
    other.primary.local_gid = test::host_port(3).addresses[0].address;
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

BOOST_AUTO_TEST_CASE(a_peer_that_comes_back_with_the_same_qpn_replaces_its_old_connection) {
    Network network;
    auto req = good_request();
    const auto rep = only_answer<roce::CmReply>(network, {9, req});
    answers(network, {9, rtu_for(rep)});
    auto reborn = req;
    reborn.local_comm_id += 100;
    // Not without a grant.
    network.decision.accepted = false;
    BOOST_TEST((only_answer<roce::CmReject>(network, {10, reborn}).reason == RejectReason::consumer_defined));
    BOOST_TEST(network.server.provider.live.size() == 1U);
    network.decision.accepted = true;
    const auto both = answers(network, {10, reborn});
    BOOST_REQUIRE_EQUAL(both.size(), 2U);
    BOOST_TEST((std::get<roce::CmReject>(both[0].body).reason == RejectReason::stale_connection));
    BOOST_TEST(std::get<roce::CmDisconnectRequest>(both[1].body).remote_qpn == req.local_qpn);
    BOOST_TEST((network.server.ended.at(rep.local_qpn) == DisconnectReason::stale));
    BOOST_TEST(network.server.provider.live.empty());
    // While the old one is being wound up, and in its wait state, the answer stays the same.
    BOOST_TEST((only_answer<roce::CmReject>(network, {10, reborn}).reason == RejectReason::stale_connection));
    const roce::CmDisconnectReply drep{.local_comm_id = rep.remote_comm_id,
                                       .remote_comm_id = rep.local_comm_id};
    answers(network, {11, drep});
    BOOST_TEST((only_answer<roce::CmReject>(network, {10, reborn}).reason == RejectReason::stale_connection));
    network.run(1'100'000);
    only_answer<roce::CmReply>(network, {10, reborn});
    BOOST_TEST(network.server.provider.live.size() == 1U);
}

BOOST_AUTO_TEST_CASE(the_same_comm_id_with_another_qpn_is_a_peer_that_has_restarted) {
    Network network;
    auto req = good_request();
    const auto rep = only_answer<roce::CmReply>(network, {9, req});
    answers(network, {9, rtu_for(rep)});
    ++req.local_qpn;
    BOOST_TEST((std::get<roce::CmReject>(answers(network, {10, req})[0].body).reason ==
                RejectReason::stale_connection));
    BOOST_TEST(network.server.provider.live.empty());
}

BOOST_AUTO_TEST_CASE(dreqs_are_answered_even_when_unknown_and_ignored_with_the_wrong_qpn) {
    Network network;
    const auto rep = only_answer<roce::CmReply>(network, {9, good_request()});
    answers(network, {9, rtu_for(rep)});
    auto dreq = dreq_for(rep);
    dreq.remote_qpn ^= 1;
    BOOST_TEST(answers(network, {10, dreq}).empty());
    BOOST_TEST(network.server.count("dreq_wrong_qpn") == 1U);
    dreq = dreq_for(rep);
    dreq.remote_comm_id ^= 1;
    const auto drep = only_answer<roce::CmDisconnectReply>(network, {10, dreq});
    BOOST_TEST(drep.remote_comm_id == dreq.local_comm_id);
    BOOST_TEST(drep.local_comm_id == dreq.remote_comm_id);
    BOOST_TEST(network.server.count("dreq_unknown") == 1U);
    // Another host cannot end it.
    network.server.feed(datagram({10, dreq_for(rep)}, 3, 1), network.now_us);
    BOOST_TEST(network.server.io.sent.empty());
    BOOST_TEST(network.server.count("wrong_source") == 1U);
    BOOST_TEST(network.server.provider.live.size() == 1U);
    // The right one can, and hears so as often as it asks.
    for (int i = 0; i < 3; ++i)
        only_answer<roce::CmDisconnectReply>(network, {10, dreq_for(rep)});
    BOOST_TEST(network.server.provider.live.empty());
    BOOST_TEST((network.server.ended.at(rep.local_qpn) == DisconnectReason::peer));
}

BOOST_AUTO_TEST_CASE(a_dreq_may_overtake_the_rtu) {
    Network network;
    const auto rep = only_answer<roce::CmReply>(network, {9, good_request()});
    only_answer<roce::CmDisconnectReply>(network, {10, dreq_for(rep)});
    BOOST_TEST(answers(network, {9, rtu_for(rep)}).empty());
    BOOST_TEST(network.server.provider.live.empty());
    BOOST_TEST(network.server.established.empty());
    network.run(2 * kSecond);
    BOOST_TEST(network.server.plane.connections().size() == 0U);
}

BOOST_AUTO_TEST_CASE(a_peer_that_gives_up_frees_its_half_open_connection) {
    Network network;
    const auto req = good_request();
    const auto rep = only_answer<roce::CmReply>(network, {9, req});
    // As Linux does it: no id of ours, and its GUID.
    roce::CmReject rej{.local_comm_id = req.local_comm_id,
                       .subject = roce::CmSubject::other,
                       .info_bytes = 8,
                       .reason = RejectReason::timeout};
    for (size_t i = 0; i < 8; ++i)
        rej.info[i] = static_cast<uint8_t>(req.ca_guid >> (56 - 8 * i));
    BOOST_TEST(answers(network, {10, rej}).empty());
    BOOST_TEST((network.server.ended.at(rep.local_qpn) == DisconnectReason::peer_reject));
}

BOOST_AUTO_TEST_CASE(an_established_connection_that_the_peer_forgot_ends_by_its_rej) {
    Network network;
    const auto rep = only_answer<roce::CmReply>(network, {9, good_request()});
    answers(network, {9, rtu_for(rep)});
    roce::CmReject rej{.local_comm_id = rep.remote_comm_id,
                       .remote_comm_id = rep.local_comm_id,
                       .subject = roce::CmSubject::other,
                       .reason = RejectReason::stale_connection};
    rej.local_comm_id ^= 1;
    answers(network, {10, rej});
    BOOST_TEST(network.server.provider.live.size() == 1U);
    rej.local_comm_id ^= 1;
    answers(network, {10, rej});
    BOOST_TEST(network.server.provider.live.empty());
}

BOOST_AUTO_TEST_CASE(a_client_with_nobody_there_is_told_so) {
    Network network;
    network.server.plane.connections().stop_listening(test::kService);
    network.connect(network.params());
    network.run(100'000);
    BOOST_TEST((network.outcome().result.reason == RejectReason::invalid_service_id));

    auto nobody = network.params();
    nobody.path.remote_ip = net::IpAddress::parse("10.9.0.77");
    network.connect(nobody);
    network.run(5 * kSecond);
    BOOST_TEST((network.outcome().result.status == ConnectStatus::unreachable));

    // The host is there and says nothing: REQs with their retries, then a REJ that withdraws the request.
    Network silent;
    silent.client.plane.neighbors().learn_from_request(0, silent.params().path.remote_ip,
                                                       test::host_port(1).mac, 0);
    auto params = silent.params();
    params.max_retries = 3;
    silent.connect(params);
    for (uint64_t now = kSecond; now < 4 * kSecond; now += 10'000)
        silent.client.plane.tick(now);
    BOOST_TEST((silent.outcome().result.status == ConnectStatus::timeout));
    BOOST_REQUIRE_EQUAL(silent.client.io.sent.size(), 5U);
    for (int i = 0; i < 4; ++i)
        body_in<roce::CmRequest>(silent.client.io.take());
    BOOST_TEST((body_in<roce::CmReject>(silent.client.io.take()).reason == RejectReason::timeout));
    BOOST_TEST(silent.client.provider.numbers.empty());
}

BOOST_AUTO_TEST_CASE(a_late_rep_is_rejected_so_that_the_peer_lets_go) {
    Network network;
    network.client.plane.neighbors().learn_from_request(0, network.params().path.remote_ip,
                                                        test::host_port(1).mac, 0);
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

BOOST_AUTO_TEST_CASE(a_client_without_resources_says_so) {
    Network network;
    network.client.provider.allocations_left = 0;
    network.connect(network.params());
    network.run(100'000);
    BOOST_TEST((network.outcome().result.status == ConnectStatus::no_resources));
    network.client.provider.allocations_left = 1;
    network.client.provider.refuse_create = true;
    network.connect(network.params());
    network.run(100'000);
    BOOST_TEST((network.outcome().result.status == ConnectStatus::no_resources));
    BOOST_TEST(network.server.provider.live.empty());  // told by a REJ
    BOOST_TEST(network.client.provider.numbers.empty());
}

BOOST_AUTO_TEST_CASE(impossible_parameters_are_named) {
    Network network;
    const std::pair<std::function<void(ConnectParams&)>, const char*> kCases[] = {
        {[](auto& p) { p.path.port_id = 9; }, "port 9"},
        {[](auto& p) { p.mtu_bytes = 1500; }, "1500"},
        {[](auto& p) { p.mtu_bytes = 8192; }, "8192"},
        {[](auto& p) { p.mtu_bytes = 0; }, "path MTU 0"},
        {[](auto& p) { p.private_data.resize(57); }, "56 bytes"},
        {[](auto& p) { p.service_port = 0; }, "service port"},
        {[](auto& p) { p.ack_timeout = 32; }, "31"},
        {[](auto& p) { p.response_timeout = 32; }, "31"},
        {[](auto& p) { p.retry_count = 8; }, "7"},
        {[](auto& p) { p.max_retries = 16; }, "15"},
    };
    for (const auto& [change, quoted] : kCases) {
        auto params = network.params();
        change(params);
        const std::string wanted = quoted;
        BOOST_CHECK_EXCEPTION(network.connect(params), std::invalid_argument,
                              [&](const std::invalid_argument& error) {
                                  return std::string(error.what()).find(wanted) != std::string::npos;
                              });
    }
}

BOOST_AUTO_TEST_CASE(datagrams_are_checked_before_they_are_read) {
    const Frame good = captured_req();
    struct Case {
        const char* what;
        std::function<void(Frame&)> change;
        const char* counter;
    };
    // Without a new ICRC where the check comes before it.
    const Case kCases[] = {
        {"destination MAC", [](Frame& f) { f[5] = 9; }, "datagram_not_for_us"},
        {"broadcast", [](Frame& f) { std::fill_n(f.begin(), 6, uint8_t{0xff}); }, "datagram_not_for_us"},
        {"multicast source MAC", [](Frame& f) { f[6] |= 1; }, "datagram_bad_source"},
        {"Q_Key", [](Frame& f) { f[54] ^= 1; }, "datagram_qkey"},
        {"ICRC", [](Frame& f) { f.back() ^= 1; }, "datagram_icrc"},
        {"a bit of the payload", [](Frame& f) { f[200] ^= 1; }, "datagram_icrc"},
    };
    for (const Case& c : kCases) {
        BOOST_TEST_CONTEXT(c.what) {
            Network network;
            Frame frame = good;
            c.change(frame);
            network.server.feed(frame, network.now_us);
            BOOST_TEST(network.server.count(c.counter) == 1U);
            BOOST_TEST(network.server.io.sent.empty());
            BOOST_TEST(network.asked == 0U);
        }
    }
}

BOOST_AUTO_TEST_CASE(mads_that_are_no_cm_messages_are_counted) {
    const std::pair<size_t, uint8_t> kChanges[] = {{0, 2},     {1, 3},  {2, 1}, {3, 1},
                                                   {17, 0x17}, {16, 1}, {17, 0}};
    for (const auto& [offset, value] : kChanges) {
        Network network;
        roce::Mad mad = roce::encode_cm_mad({1, good_request()});
        mad[offset] = value;
        rte_mbuf* packet = rte_pktmbuf_alloc(ControlEal::pool());
        net::Path path{.local_mac = test::host_port(2).mac, .remote_mac = test::host_port(1).mac};
        path.local_ip = test::host_port(2).addresses[0].address;
        path.remote_ip = test::host_port(1).addresses[0].address;
        BOOST_REQUIRE(build_datagram(*packet, path, 0, mad));
        packet->port = 0;
        network.server.plane.on_punted(packet, network.now_us);
        BOOST_TEST(network.server.count("mad_malformed") == 1U);
        BOOST_TEST(network.server.io.sent.empty());
    }
}

BOOST_AUTO_TEST_CASE(the_answer_keeps_the_vlan_tag) {
    Network network;
    network.server.feed(datagram({9, good_request()}, 2, 1, false, 0x6007), network.now_us);
    const Frame answer = network.server.io.take();
    BOOST_TEST(answer[12] == 0x81);
    BOOST_TEST(answer[14] == 0x60);
    BOOST_TEST(answer[15] == 0x07);
    body_in<roce::CmReply>(answer);
    BOOST_TEST(network.server.provider.live.begin()->second.path.vlan == 0x6007);
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

BOOST_AUTO_TEST_CASE(callbacks_may_call_back) {
    Network network;
    auto& client = network.client.plane.connections();
    unsigned reconnects = 0;
    std::function<void(const ConnectResult&)> reconnect = [&](const ConnectResult& result) {
        BOOST_REQUIRE((result.status == ConnectStatus::established));
        if (++reconnects < 5) network.client.plane.connect(network.params(), reconnect);
        client.close(result.qpn);
    };
    client.set_disconnected_handler(
        [&](uint32_t qpn, DisconnectReason) { BOOST_TEST(!client.disconnect(qpn)); });
    network.client.plane.connect(network.params(), reconnect);
    network.run(3 * kSecond);
    BOOST_TEST(reconnects == 5U);
    BOOST_TEST(network.server.provider.live.empty());
    BOOST_TEST(client.size() == 0U);
}

BOOST_AUTO_TEST_CASE(a_manager_that_goes_takes_its_queue_pairs_along) {
    test::KeepingIo io;
    test::StrictProvider provider(0x100);
    {
        ControlPlane plane(io, {test::host_port(1)}, provider);
        plane.connections().listen(test::kService,
                                   [](const ConnectRequest&) { return AcceptDecision{.accepted = true}; });
        plane.on_punted(test::to_mbuf(captured_req(), 0), 1);
        ConnectParams params;
        params.service_port = 1;
        plane.neighbors().learn_from_request(0, net::IpAddress::parse("10.9.0.2"), test::host_port(2).mac, 0);
        params.path.remote_ip = net::IpAddress::parse("10.9.0.2");
        plane.connect(params, [](const ConnectResult&) {});
        plane.tick(1);
        BOOST_TEST(provider.live.size() == 1U);
        BOOST_TEST(provider.numbers.size() == 1U);
    }
    BOOST_TEST(provider.live.empty());
    BOOST_TEST(provider.numbers.empty());
}

// Whatever is lost, repeated or late, both sides end with the same connections, and with none after all are
// closed.
BOOST_AUTO_TEST_CASE(a_bad_network_leaves_no_half_connections) {
    auto random = test::seeded_random();
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
    auto random = test::seeded_random();
    Network network(
        {.max_connections = 64, .max_half_open = 32, .max_half_open_per_source = 16, .seed = random()});
    network.established_connection();
    const auto captured = test::read_capture("rxe-rping.pcap");
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
