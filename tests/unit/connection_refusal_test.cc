// SPDX-License-Identifier: BSD-3-Clause
// RDMA CM: what is refused or dropped, by which reason and counter, on both sides.
#define BOOST_TEST_MODULE connection_refusal
#include "datapath/cm/connection_manager.h"

#include <boost/test/unit_test.hpp>
#include <functional>

#include "tests/unit/cm_peers.h"

using namespace lagan;
using namespace lagan::cm;
using namespace lagan::test;
BOOST_TEST_GLOBAL_FIXTURE(ControlEal);

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
    KeepingIo io;
    StrictProvider provider(0x100);
    auto port = host_port(1);
    port.mtu = 1500;
    ControlPlane plane(io, {port}, provider);
    plane.connections().listen(kService,
                               [](const ConnectRequest&) { return AcceptDecision{.accepted = true}; });
    auto req = good_request();
    plane.on_punted(to_mbuf(datagram({1, req}, 2, 1), 0), 1);
    BOOST_TEST((body_in<roce::CmReject>(io.take()).reason == RejectReason::invalid_mtu));
    req.path_mtu_code = 3;
    plane.on_punted(to_mbuf(datagram({1, req}, 2, 1), 0), 1);
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
        req.primary.local_gid = host_port(host).addresses[0].address;
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

BOOST_AUTO_TEST_CASE(a_client_with_nobody_there_is_told_so) {
    Network network;
    network.server.plane.connections().stop_listening(kService);
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
    silent.client.plane.neighbors().learn_from_request(0, silent.params().path.remote_ip, host_port(1).mac,
                                                       0);
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
        net::Path path{.local_mac = host_port(2).mac, .remote_mac = host_port(1).mac};
        path.local_ip = host_port(2).addresses[0].address;
        path.remote_ip = host_port(1).addresses[0].address;
        BOOST_REQUIRE(build_datagram(*packet, path, 0, mad));
        packet->port = 0;
        network.server.plane.on_punted(packet, network.now_us);
        BOOST_TEST(network.server.count("mad_malformed") == 1U);
        BOOST_TEST(network.server.io.sent.empty());
    }
}
