// SPDX-License-Identifier: BSD-3-Clause
// What the nodes have said in their answers to heartbeats, and how long they have said nothing.
#pragma once

#include <map>
#include <mutex>
#include <set>
#include <string>

#include "mgmt/cluster/node_client.h"

namespace lagan::cluster {

struct HealthTimes {
    std::chrono::milliseconds interval{200};  // of heartbeats
    unsigned missed = 3;                      // so many intervals of silence: suspect
};

struct NodeSeen {
    enum class Health : uint8_t { unknown, up, suspect };
    Health health = Health::unknown;  // unknown: not asked for long enough
    HeartbeatReply last;              // the newest answer, however old
    bool ever = false;                // there was one
    Clock::duration silence{0};       // since then, or since we began to ask
    std::string problem;              // why there is none now

    bool up() const { return health == Health::up; }
    bool serves() const { return up() && last.mode == "serve"; }
    const HeardRegion* region(const std::string& name) const;
};

const char* to_string(NodeSeen::Health health);

// Any thread.
class Observations {
  public:
    explicit Observations(const HealthTimes& times) : times_(times) {}

    // Only who leads asks; what was seen before says nothing about the time when nobody asked.
    void begin(Clock::time_point now);
    // `there`: copies that the node must have had when it was asked.
    void heard(const std::string& node, HeartbeatReply reply, const std::vector<Copy>& there,
               Clock::time_point now);
    void failed(const std::string& node, const std::string& why);
    void forget(const std::string& node);

    NodeSeen seen(const std::string& node, Clock::time_point now) const;
    // In how many answers in a row the node has not had a copy that must be there.
    unsigned times_missing(const std::string& node, const Copy& copy) const;

  private:
    struct Known {
        HeartbeatReply reply;
        bool ever = false;
        Clock::time_point last{};
        std::string problem;
        std::map<Copy, unsigned> missing;
    };
    const HealthTimes times_;
    mutable std::mutex mutex_;
    Clock::time_point begin_{};           // under mutex_
    std::map<std::string, Known> nodes_;  // under mutex_
};

}  // namespace lagan::cluster
