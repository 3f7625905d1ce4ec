// SPDX-License-Identifier: BSD-3-Clause
// RDMA CM: a captured REQ of Linux's, both sides against each other, and every way for a connection to end.
#define BOOST_TEST_MODULE connection_manager
#include "datapath/cm/connection_manager.h"

#include <boost/test/unit_test.hpp>
#include <functional>

#include "tests/unit/cm_peers.h"

using namespace lagan;
using namespace lagan::cm;
using namespace lagan::test;
BOOST_TEST_GLOBAL_FIXTURE(ControlEal);

BOOST_AUTO_TEST_CASE(linux_req_gets_a_rep) {
    Network network;
    const Frame frame = captured_req();
    const auto req = good_request();
    network.decision.private_data = {1, 2, 3};
    network.server.feed(frame, network.now_us);

    BOOST_TEST(network.last_request.service_port == kService);
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
    BOOST_TEST(message_in(answer).transaction_id == message_in(frame).transaction_id);
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
            params.region_id = 17;
            params.role = Role::read;
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
            BOOST_TEST(ours.region_id == 17U);
            BOOST_TEST((ours.role == Role::read));
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

// Else a client that connects again could find something of its old connection carried out behind what it
// repeats.
BOOST_AUTO_TEST_CASE(a_drep_waits_for_the_end_of_the_queue_pair) {
    Network network;
    const auto rep = only_answer<roce::CmReply>(network, {9, good_request()});
    answers(network, {9, rtu_for(rep)});
    network.server.provider.linger = true;
    for (int i = 0; i < 3; ++i) {
        BOOST_TEST(answers(network, {10, dreq_for(rep)}).empty());
        network.run(100'000);
    }
    BOOST_TEST(network.server.provider.live.empty());
    auto unknown = dreq_for(rep);
    ++unknown.remote_comm_id;  // nor when the connection is forgotten
    BOOST_TEST(answers(network, {10, unknown}).empty());
    BOOST_TEST(network.server.count("drep_sent") == 0U);
    network.server.provider.lingering.clear();
    network.run(10'000);
    BOOST_TEST(network.server.count("drep_sent") == 1U);
    only_answer<roce::CmDisconnectReply>(network, {10, dreq_for(rep)});
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
    KeepingIo io;
    StrictProvider provider(0x100);
    {
        ControlPlane plane(io, {host_port(1)}, provider);
        plane.connections().listen(kService,
                                   [](const ConnectRequest&) { return AcceptDecision{.accepted = true}; });
        plane.on_punted(to_mbuf(captured_req(), 0), 1);
        ConnectParams params;
        params.service_port = 1;
        plane.neighbors().learn_from_request(0, net::IpAddress::parse("10.9.0.2"), host_port(2).mac, 0);
        params.path.remote_ip = net::IpAddress::parse("10.9.0.2");
        plane.connect(params, [](const ConnectResult&) {});
        plane.tick(1);
        BOOST_TEST(provider.live.size() == 1U);
        BOOST_TEST(provider.numbers.size() == 1U);
    }
    BOOST_TEST(provider.live.empty());
    BOOST_TEST(provider.numbers.empty());
}
