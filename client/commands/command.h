// SPDX-License-Identifier: BSD-3-Clause
// What all commands share: their options, how one is added to the command line, and what its exit status
// means.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "client/commands/server.h"
#include "client/target.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace lagan::client::commands {

inline constexpr int kDone = 0;
inline constexpr int kFailed = 1;  // the answer is no, or what was asked for has failed
inline constexpr int kWrongUsage = 2;
inline constexpr int kUnreachable = 3;    // nobody there, or nobody who answers
inline constexpr int kNotAllowed = 4;     // the token is missing, unknown, or of another role
inline constexpr int kUnderWay = 5;       // it goes on, and --timeout was over
inline constexpr int kInterrupted = 130;  // Ctrl-C

// Of all commands; each has a part of them.
struct Options {
    Where where;
    bool json = false;
    bool no_wait = false;
    uint32_t timeout_s = 0;  // of waiting; 0: to the end
    std::string key;         // Idempotency-Key
    std::string region, node, target, tenant, id, reason;
    std::string size, reserve;
    bool overcommit = false;
    bool force = false;     // give up what is lost
    bool cancel = false;    // checkpoint
    uint64_t manifest = 0;  // restore: 0: the newest
    std::string api, address;
    uint16_t port = 0;
    std::string role;  // of a grant
    uint64_t ttl_s = 0;
    std::string output;
    uint64_t after = 0, last = 0;  // events
    bool follow = false;
    TargetOptions way;  // a drill's, to the appliances
};

// Whom a command can ask.
enum class Asks : uint8_t { either, manager, appliance };

using Command = int (*)(Server&, const Options&);

// "/v1/regions/NAME" and what comes behind. Throws std::invalid_argument when nothing can be called so; a
// command that throws it was used wrongly.
std::string path_of(const char* collection, const std::string& name, const std::string& behind = {});

// Adds commands to the command line. When one of them was parsed, chosen() is what it does; its result is the
// exit status.
class Builder {
  public:
    CLI::App* group(CLI::App& parent, const char* name, const char* about, const char* footer);
    CLI::App* add(CLI::App& parent, const char* name, const char* about, Asks asks, Command command);
    // Whom to ask, and --json; for a command that is added by other means than add().
    void where(CLI::App& app, Asks asks);
    void choose(CLI::App& app, Asks asks, Command command);

    CLI::Option* region(CLI::App* app, bool required = true);
    void node(CLI::App* app);
    void to(CLI::App* app, const char* about);
    void room(CLI::App* app);
    void wait(CLI::App* app);
    void key(CLI::App* app);

    Options& options() { return options_; }
    const std::function<int()>& chosen() const { return chosen_; }

  private:
    Options options_;
    std::function<int()> chosen_;
};

}  // namespace lagan::client::commands
