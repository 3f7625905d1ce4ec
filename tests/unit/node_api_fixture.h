// SPDX-License-Identifier: BSD-3-Clause
// A node API on a real unix socket in front of regions in a map, and clients that say to it what they like.
#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <boost/test/unit_test.hpp>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "appliance/node_api.h"
#include "client/node_client.h"
#include "mgmt/http/server.h"
#include "mgmt/http/unix_listener.h"

namespace lagan::test {

using namespace lagan::appliance;
using namespace std::chrono_literals;
using client::NodeClient;
using client::NodeReply;
using nlohmann::json;
namespace fs = std::filesystem;

inline constexpr uint64_t kRoom = 1ULL << 30;

// Regions in a map. Knows on which thread it was called.
class FakeNode : public NodeService {
  public:
    std::atomic<bool> wrong_thread{false};
    std::thread::id control_thread;
    HeartbeatRequest last_heartbeat;

    NodeStatus node() override {
        check_thread();
        NodeStatus status;
        status.name = "fake";
        status.version = "1.2.3";
        status.memory_bytes = kRoom;
        status.rdma_service_port = 7471;
        status.ports.push_back({.name = "p0",
                                .kind = "vhost",
                                .path = "/run/\xff",  // no UTF-8: must not break the reply
                                .mac = "02:00:00:00:00:01",
                                .addresses = {"10.0.0.1/24"},
                                .peer_address = "10.0.0.2",
                                .mtu_bytes = 4200,
                                .link_up = true});
        status.lcores = {"lcore 1 polls on CPU 1"};
        return status;
    }
    std::vector<RegionStatus> regions() override {
        check_thread();
        std::vector<RegionStatus> list;
        for (const auto& [name, region] : regions_)
            list.push_back(region);
        return list;
    }
    std::vector<recovery::Event> events_after(uint64_t number) override {
        return {{.number = number + 1, .kind = "something", .text = "happened"}};
    }
    RegionStatus region(const std::string& name) override { return find(name); }
    RegionStatus create_region(const RegionSpec& spec) override {
        check_thread();
        if (spec.name == "explode") throw std::runtime_error("something else broke");
        if (spec.name.find('/') != std::string::npos)
            throw ServiceError(ServiceError::Kind::invalid, "bad name");
        if (regions_.contains(spec.name)) throw ServiceError(ServiceError::Kind::exists, "it exists");
        if (spec.size_bytes > kRoom) throw ServiceError(ServiceError::Kind::no_room, "no room");
        RegionStatus region;
        region.name = spec.name;
        region.size_bytes = spec.size_bytes;
        region.reserve_bytes = spec.reserve_bytes;
        regions_[spec.name] = region;
        return region;
    }
    void delete_region(const std::string& name, std::optional<uint64_t> epoch) override {
        if (epoch.value_or(0) != 0 && find(name).epoch != epoch)
            throw ServiceError(ServiceError::Kind::exists, "another epoch");
        find(name);
        regions_.erase(name);
    }
    HeartbeatReply heartbeat(const HeartbeatRequest& request) override {
        check_thread();
        last_heartbeat = request;
        return {.node = "it",
                .instance = "me",
                .now_ms = 17,
                .heartbeat = 3,
                .regions = regions(),
                .refused = {{"r", "why"}}};
    }
    RegionStatus fence_region(const std::string& name, uint64_t epoch) override {
        find(name).lease = "fenced";
        find(name).fence_epoch = epoch;
        return find(name);
    }
    IssuedGrant make_grant(const std::string& name, Role role, uint64_t ttl_s) override {
        find(name);
        return {std::string(role == Role::write ? "77" : "00"), ttl_s};
    }
    json statistics() override { return {{"engines", json::array()}}; }

  private:
    void check_thread() {
        if (std::this_thread::get_id() != control_thread) wrong_thread = true;
    }
    RegionStatus& find(const std::string& name) {
        check_thread();
        const auto found = regions_.find(name);
        if (found == regions_.end())
            throw ServiceError(ServiceError::Kind::not_found, "there is no region \"" + name + "\"");
        return found->second;
    }
    std::map<std::string, RegionStatus> regions_;
};

// A server with a control thread, as lagand has them.
struct Fixture {
    fs::path directory;
    fs::path socket;
    FakeNode node;
    ControlQueue queue;
    NodeApi api{node, queue};
    std::atomic<bool> stop{false};
    std::thread control;
    std::unique_ptr<http::Server> server;

    explicit Fixture(const http::Limits& limits = {}) {
        std::string name = (fs::temp_directory_path() / "lagan-api-XXXXXX").string();
        BOOST_REQUIRE(mkdtemp(name.data()) != nullptr);
        directory = name;
        socket = directory / "sub" / "api.sock";
        control = std::thread([this] {
            pollfd event{.fd = queue.fd(), .events = POLLIN, .revents = 0};
            while (!stop) {
                if (poll(&event, 1, 10) > 0) queue.serve();
            }
        });
        node.control_thread = control.get_id();
        server = std::make_unique<http::Server>(std::vector<http::Listen>{{.unix_socket = socket}},
                                                api.handlers(), limits);
    }
    ~Fixture() {
        queue.close();
        server.reset();
        stop = true;
        control.join();
        BOOST_TEST(!node.wrong_thread);
        fs::remove_all(directory);
    }
    NodeClient client() const { return NodeClient(socket); }
};

// A client that writes what it likes.
class RawClient {
  public:
    explicit RawClient(const fs::path& path) : fd_(::socket(AF_UNIX, SOCK_STREAM, 0)) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path.native().copy(address.sun_path, sizeof address.sun_path - 1);
        BOOST_REQUIRE(connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    }
    ~RawClient() { close(fd_); }
    RawClient(const RawClient&) = delete;
    RawClient& operator=(const RawClient&) = delete;

    bool send(const std::string& text) const {
        return ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
    }
    // All that comes until the server closes, or for five seconds.
    std::string receive_all() const {
        timeval limit{.tv_sec = 5, .tv_usec = 0};
        setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        std::string all;
        char block[4096];
        for (ssize_t bytes; (bytes = recv(fd_, block, sizeof block, 0)) > 0;)
            all.append(block, static_cast<size_t>(bytes));
        return all;
    }

  private:
    int fd_;
};

inline std::string raw_call(const fs::path& socket, const std::string& text) {
    const RawClient client(socket);
    client.send(text);
    return client.receive_all();
}

inline std::string post_text(const std::string& target, const std::string& body) {
    return "POST " + target +
           " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: " + std::to_string(body.size()) +
           "\r\n\r\n" + body;
}

}  // namespace lagan::test
