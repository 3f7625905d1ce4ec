// SPDX-License-Identifier: BSD-3-Clause
// Where a region lives, as the manager says it, and how a client stays there when it moves: the manager is
// asked before every connection. Not bound to HTTP or to a fabric.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/fabric.h"

namespace lagan::client {

// The manager's answer (docs/client.md, "Through the manager").
struct Home {
    // The region was reconstructed without its newest stores: who had it with a lower epoch has lost some.
    struct RollBack {
        uint64_t epoch = 0;
        uint64_t cut_number = 0;
        uint64_t cut_time_us = 0;  // since 1970; 0: not known, or nothing was left
    };

    std::string node;
    std::string address;  // "10.77.0.1"
    uint16_t port = 0;
    std::vector<uint8_t> grant;
    std::string uid;  // the region's, wherever it is
    uint64_t epoch = 0;
    std::optional<RollBack> rolled_back;
};

enum class OnRollBack : uint8_t {
    stop,  // acknowledged stores are missing: no program can know which
    go_on
};

// One connection's. Single-threaded.
class HomeFinder {
  public:
    // Throws Refused when the manager's answer is a no, std::runtime_error when there is none now.
    using Ask = std::function<Home()>;
    // Throws as ReconnectingFabric's WayBack::connect does.
    using Connect = std::function<std::unique_ptr<Fabric>(const Home&)>;
    using Tell = std::function<void(const std::string&)>;  // may be empty

    HomeFinder(Ask ask, Connect connect, OnRollBack on_roll_back, Tell tell)
        : ask_(std::move(ask)),
          connect_(std::move(connect)),
          on_roll_back_(on_roll_back),
          tell_(std::move(tell)) {}

    // The first time. Throws what the manager or the appliance says.
    std::unique_ptr<Fabric> connect();

    // Does the region live elsewhere now than where it was connected last? Nothing that was sent there counts
    // any more then. False also when the manager does not answer. Asks now and then only.
    bool moved();

    // After the first connection. While the manager does not answer, the home of before is tried. Throws
    // RolledBack; Refused: the region is gone, or the token not valid any more; std::runtime_error: to be
    // tried again.
    std::unique_ptr<Fabric> connect_again();

  private:
    using Clock = std::chrono::steady_clock;

    void check_same_region(const Home& home) const;
    void check_roll_back(const Home& home);
    std::unique_ptr<Fabric> connect_to(const Home& home);

    const Ask ask_;
    const Connect connect_;
    const OnRollBack on_roll_back_;
    const Tell tell_;
    Home known_;  // of the last connection
    Clock::time_point next_look_{};
};

}  // namespace lagan::client
