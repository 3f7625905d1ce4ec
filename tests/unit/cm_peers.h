// SPDX-License-Identifier: BSD-3-Clause
// Two hosts with a control plane each, for connection tests: a provider that checks how queue pairs are used,
// and a network between them that can lose, repeat and reorder.
#pragma once

#include <map>
#include <optional>
#include <random>
#include <set>
#include <utility>
#include <variant>

#include "datapath/cm/control_plane.h"
#include "datapath/cm/datagram.h"
#include "datapath/roce/icrc.h"
#include "tests/unit/control_fixture.h"
#include "tests/unit/pcap_reader.h"

namespace lagan::test {

// Queue pair numbers are never given twice. Every call that the interface forbids fails the test.
class StrictProvider : public cm::QpProvider {
  public:
    explicit StrictProvider(uint32_t first_qpn) : next_(first_qpn) {}

    uint32_t allocate_qpn() override {
        if (allocations_left == 0) return 0;
        --allocations_left;
        numbers.insert(next_);
        return next_++;
    }
    void release_qpn(uint32_t qpn) override { BOOST_TEST(numbers.erase(qpn) == 1U); }
    bool create(const QpAttributes& attributes, uint32_t engine) override {
        BOOST_TEST(numbers.contains(attributes.qpn));
        if (refuse_create) return false;
        BOOST_TEST(numbers.erase(attributes.qpn) == 1U);
        BOOST_TEST(live.emplace(attributes.qpn, attributes).second);
        last_engine = engine;
        return true;
    }
    void destroy(uint32_t qpn) override {
        BOOST_TEST(live.erase(qpn) == 1U);
        if (linger) lingering.insert(qpn);
    }
    bool is_gone(uint32_t qpn) override { return !lingering.contains(qpn); }
    bool has_received(uint32_t qpn) override {
        BOOST_TEST(live.contains(qpn));
        return received.contains(qpn);
    }

    std::set<uint32_t> numbers;  // allocated, without a queue pair
    std::map<uint32_t, QpAttributes> live;
    std::set<uint32_t> received;
    uint32_t allocations_left = 1'000'000;
    uint32_t last_engine = 0;
    bool refuse_create = false;
    bool linger = false;  // what is destroyed is not gone before it is taken out of this:
    std::set<uint32_t> lingering;

  private:
    uint32_t next_;
};

struct Host {
    Host(uint8_t number, cm::CmOptions options)
        : provider(number * 0x1000U), plane(io, {host_port(number)}, provider, options) {
        plane.connections().set_disconnected_handler(
            [this](uint32_t qpn, cm::DisconnectReason why) { BOOST_TEST(ended.emplace(qpn, why).second); });
        plane.connections().set_established_handler(
            [this](const QpAttributes& qp) { BOOST_TEST(established.insert(qp.qpn).second); });
    }

    uint64_t count(const std::string& wanted) const {
        std::optional<uint64_t> found;
        plane.connections().counters().for_each([&](const char* name, const char*, uint64_t value) {
            if (name == wanted) found = value;
        });
        BOOST_REQUIRE_MESSAGE(found, "no counter " << wanted);
        return *found;
    }
    void feed(const Frame& frame, uint64_t now_us) { plane.on_punted(to_mbuf(frame, 0), now_us); }

    KeepingIo io;
    StrictProvider provider;
    std::map<uint32_t, cm::DisconnectReason> ended;
    std::set<uint32_t> established;
    cm::ControlPlane plane;
};

inline constexpr uint64_t kSecond = 1'000'000;  // in microseconds, as the clock of Network
inline constexpr uint16_t kService = 7174;      // of rping, so that its capture fits

// Host 1 listens, host 2 connects.
struct Network {
    explicit Network(cm::CmOptions options = {})
        : server(1, seeded(options, 1)), client(2, seeded(options, 2)) {
        server.plane.connections().listen(kService, [this](const cm::ConnectRequest& request) {
            ++asked;
            last_request = request;
            last_private_data.assign(request.private_data.begin(), request.private_data.end());
            return decision;
        });
        decision.accepted = true;
        decision.region_id = 42;
        decision.role = Role::write;
        decision.engine = 3;
    }
    ~Network() {
        server.io.sent.clear();
        client.io.sent.clear();
        BOOST_TEST(ControlEal::all_mbufs_free());
    }

    static cm::CmOptions seeded(cm::CmOptions options, uint64_t host) {
        if (options.seed == 0) options.seed = 1000;
        options.seed += host;
        return options;
    }

    // Delivers everything in flight, answers included, without the clock moving.
    void settle() {
        while (!server.io.sent.empty() || !client.io.sent.empty()) {
            exchange(client, server);
            exchange(server, client);
        }
    }
    // Lets time pass in steps of 10 ms.
    void run(uint64_t microseconds) {
        for (const uint64_t end = now_us + microseconds; now_us < end; now_us += 10'000) {
            server.plane.tick(now_us);
            client.plane.tick(now_us);
            settle();
        }
    }

    cm::ConnectParams params(bool ipv6 = false) const {
        cm::ConnectParams wanted;
        wanted.path.remote_ip = net::IpAddress::parse(ipv6 ? "fd00:9::1" : "10.9.0.1");
        wanted.service_port = kService;
        wanted.private_data = {'g', 'r', 'a', 'n', 't'};
        wanted.mtu_bytes = 4096;
        return wanted;
    }
    // Results copied: the span in them ends with the callback.
    struct Outcome {
        cm::ConnectResult result;
        std::vector<uint8_t> private_data;
    };
    void connect(const cm::ConnectParams& wanted) {
        const size_t index = outcomes.size();
        outcomes.emplace_back();
        client.plane.connect(wanted, [this, index](const cm::ConnectResult& result) {
            BOOST_TEST(!outcomes[index].has_value());
            outcomes[index] = Outcome{result, {result.private_data.begin(), result.private_data.end()}};
        });
    }
    const Outcome& outcome() const {
        BOOST_REQUIRE(!outcomes.empty());
        BOOST_REQUIRE(outcomes.back().has_value());
        return *outcomes.back();
    }
    // One connection made, the usual way. Its QPN at the client.
    uint32_t established_connection() {
        connect(params());
        run(100'000);
        BOOST_REQUIRE(outcome().result.status == cm::ConnectStatus::established);
        return outcome().result.qpn;
    }

    void exchange(Host& from, Host& to) {
        while (!from.io.sent.empty()) {
            const Frame frame = from.io.take();
            if (random && draw(loss)) continue;
            if (random && draw(repeat)) to.feed(frame, now_us);
            if (random && draw(reorder)) {
                late.emplace_back(&to, frame);
                continue;
            }
            to.feed(frame, now_us);
            if (!late.empty() && random && (*random)() % 3 == 0) {
                const auto [late_to, late_frame] = late.back();
                late.pop_back();
                late_to->feed(late_frame, now_us);
            }
        }
    }
    bool draw(unsigned percent) { return (*random)() % 100 < percent; }

    uint64_t now_us = 1'000'000;
    cm::AcceptDecision decision;
    unsigned asked = 0;
    cm::ConnectRequest last_request{};
    std::vector<uint8_t> last_private_data;
    std::vector<std::optional<Outcome>> outcomes;
    std::mt19937_64* random = nullptr;
    unsigned loss = 0, repeat = 0, reorder = 0;  // percent
    std::vector<std::pair<Host*, Frame>> late;
    Host server, client;
};

// The CM message in a frame whose ICRC is right. Fails the test for anything else.
inline roce::CmMessage message_in(const Frame& frame) {
    roce::Packet packet{};
    BOOST_REQUIRE(roce::decode(frame.data(), static_cast<uint32_t>(frame.size()), packet).result ==
                  roce::DecodeResult::punt);
    BOOST_REQUIRE(packet.info != nullptr);
    BOOST_TEST(packet.dest_qpn == roce::kGsiQpn);
    BOOST_TEST(roce::icrc_ok(packet));
    const auto message = roce::decode_cm_mad({packet.payload, packet.payload_bytes});
    BOOST_REQUIRE(message.has_value());
    return *message;
}

template <typename Body>
Body body_in(const Frame& frame) {
    const roce::CmMessage message = message_in(frame);
    BOOST_REQUIRE(std::holds_alternative<Body>(message.body));
    return std::get<Body>(message.body);
}

// A datagram with `body` from host `from` to host `to`.
inline Frame datagram(const roce::CmMessage& message, uint8_t from, uint8_t to, bool ipv6 = false,
                      uint16_t vlan = 0) {
    net::Path path;
    path.local_mac = host_port(from).mac;
    path.remote_mac = host_port(to).mac;
    path.local_ip = host_port(from).addresses[ipv6 ? 1 : 0].address;
    path.remote_ip = host_port(to).addresses[ipv6 ? 1 : 0].address;
    path.vlan = vlan;
    rte_mbuf* packet = rte_pktmbuf_alloc(ControlEal::pool());
    BOOST_REQUIRE(packet != nullptr);
    BOOST_REQUIRE(cm::build_datagram(*packet, path, 77, roce::encode_cm_mad(message)));
    const auto* bytes = rte_pktmbuf_mtod(packet, const uint8_t*);
    Frame frame(bytes, bytes + packet->data_len);
    rte_pktmbuf_free(packet);
    return frame;
}

// The REQ of host 2 to host 1 in rxe-rping.pcap.
inline Frame captured_req() {
    for (const Frame& frame : read_capture("rxe-rping.pcap")) {
        roce::Packet packet{};
        if (roce::decode(frame.data(), static_cast<uint32_t>(frame.size()), packet).result ==
                roce::DecodeResult::punt &&
            packet.info != nullptr) {
            return frame;
        }
    }
    throw std::runtime_error("no CM message in rxe-rping.pcap");
}

inline roce::CmRequest good_request() {
    return body_in<roce::CmRequest>(captured_req());
}

// Host 1's answers to a message from host 2.
inline std::vector<roce::CmMessage> answers(Network& network, const roce::CmMessage& message) {
    network.server.feed(datagram(message, 2, 1), network.now_us);
    std::vector<roce::CmMessage> all;
    while (!network.server.io.sent.empty())
        all.push_back(message_in(network.server.io.take()));
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

inline roce::CmReadyToUse rtu_for(const roce::CmReply& rep) {
    return {.local_comm_id = rep.remote_comm_id, .remote_comm_id = rep.local_comm_id};
}

inline roce::CmDisconnectRequest dreq_for(const roce::CmReply& rep) {
    return {.local_comm_id = rep.remote_comm_id,
            .remote_comm_id = rep.local_comm_id,
            .remote_qpn = rep.local_qpn};
}

}  // namespace lagan::test
