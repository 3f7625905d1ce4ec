// SPDX-License-Identifier: BSD-3-Clause
// Waiting for something that a server does, with progress.
#pragma once

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

#include "client/commands/command.h"

namespace lagan::client::commands {

// What a status says.
struct Seen {
    bool ended = false;
    std::string step;
    uint64_t done = 0, all = 0;
    std::string more{};
};

// --timeout is over. What was waited for goes on.
struct StillUnderWay : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// While one lives, Ctrl-C says `farewell` and ends the process with kInterrupted: for commands that have
// nothing to clean up. One at a time.
class Farewell {
  public:
    explicit Farewell(const std::string& farewell);
    ~Farewell();
    Farewell(const Farewell&) = delete;
    Farewell& operator=(const Farewell&) = delete;
};

// Ctrl-C.
struct Interrupted {};

// While one lives, Ctrl-C is noted, for commands that have something to clean up; the second one says
// `farewell` and ends the process. One at a time, and no Farewell meanwhile.
class Interrupts {
  public:
    explicit Interrupts(const std::string& farewell);
    ~Interrupts();
    Interrupts(const Interrupts&) = delete;
    Interrupts& operator=(const Interrupts&) = delete;

    bool happened() const;
    void check() const;  // throws Interrupted
};

// How far checkpoints and restores are, and failovers.
Seen look_at_copying(const nlohmann::json& status);
Seen look_at_move(const nlohmann::json& failover);

// Asks for `target` until look() says that it has ended, and returns that answer. A server that goes away
// meanwhile is waited for, a minute long. Throws Refused, StillUnderWay (of options.timeout_s), or
// std::runtime_error. Ctrl-C ends the process, or throws Interrupted if there are `interrupts`.
nlohmann::json wait_for_end(Server& server, const Options& options, const std::string& target,
                            const std::string& what, Seen (*look)(const nlohmann::json&),
                            const Interrupts* interrupts = nullptr);

}  // namespace lagan::client::commands
