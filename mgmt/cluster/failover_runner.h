// SPDX-License-Identifier: BSD-3-Clause
// Carries out what failover_decision.h decides: one request to a node, or one change of the directory, at a
// time.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <string>

#include "mgmt/cluster/directory.h"
#include "mgmt/cluster/failover_decision.h"
#include "mgmt/cluster/lease_book.h"
#include "mgmt/cluster/node_client.h"
#include "mgmt/cluster/observations.h"
#include "mgmt/cluster/view.h"

namespace lagan::cluster {

// What a failover is begun with.
struct FailoverRequest {
    FailoverRecord::Kind kind = FailoverRecord::Kind::failure;
    std::string wanted_target;
    std::string reason;
};

class FailoverRunner {
  public:
    // Where it looks for the time, so that tests can say.
    struct Clocks {
        std::function<Clock::time_point()> now = [] { return Clock::now(); };
        std::function<uint64_t()> unix_ms;
    };
    using Say = std::function<void(EventRecord)>;

    FailoverRunner(Directory& directory, NodeClient& nodes, LeaseBook& leases,
                   const Observations& observations, FailoverPolicy policy, Clocks clocks, Say say)
        : directory_(directory),
          nodes_(nodes),
          leases_(leases),
          observations_(observations),
          policy_(policy),
          clocks_(std::move(clocks)),
          say_(std::move(say)) {}

    // Puts a failover of the region on record and claims the region for it. Empty: the region has changed
    // since `region` was read, or it has a failover already that must end first.
    std::string begin(Versioned<RegionRecord> region, const FailoverRequest& request);

    // Goes on with a failover as far as it goes without waiting. One thread at a time for each failover; only
    // in the process that leads. Throws DirectoryError; what nodes say no to is dealt with.
    void advance(const std::string& id);

    // A region that is left to a failover that has ended is let go.
    void release_if_ended(const std::string& region, const std::string& failover);

    // Waits are counted anew: a leadership begins, and nobody has looked before.
    void forget_waits();

  private:
    struct Work;
    bool step(const std::string& id);  // whether there may be another
    FailoverFacts facts(const Work& work);
    bool lost_by_source(const Work& work) const;
    std::vector<std::string> candidates(const Work& work, const FailoverFacts& facts) const;
    void count_waits(const FailoverRecord& f, FailoverFacts& facts);
    bool carry_out(Work& work, const FailoverDecision& decision, const FailoverFacts& facts);

    bool has_region(const FailoverRecord& f);
    bool claim(Work& work);
    bool reclaim(Work& work);
    bool choose_target(Work& work, const std::string& target);
    bool decide_source(Work& work, FailoverRecord::Source source, const NodeSeen& seen);
    void make_way(const FailoverRecord& f, const std::string& uid, const NodeRecord& target,
                  const NodeSeen& seen);
    bool order(Work& work, const NodeSeen& seen);
    bool switch_home(Work& work, const RebuildStatus& rebuild);
    bool finish(Work& work, const std::optional<RebuildStatus>& rebuild);
    bool next_target(Work& work, const std::string& why);
    bool give_up_source(Work& work, const std::string& why);
    bool abandon_target(Work& work, const std::string& why);
    bool begin_again(Work& work, const std::string& why, bool target_cannot = false);
    void pause_anew(const FailoverRecord& f);  // the time since the last attempt
    void drop(const FailoverRecord& f, const std::string& target);
    bool back_to_source(Work& work, FailoverRecord::Step end, const std::string& why);
    bool to_step(Work& work, FailoverRecord::Step step);
    bool end(Work& work, FailoverRecord::Step step, const std::string& why);
    bool wait(Work& work, const FailoverDecision& decision);
    bool note_problem(Work& work, const std::string& text);
    void say(const Work& work, const char* severity, const char* kind, const std::string& text);

    NodeRecord node(const std::string& name);  // throws NodeError if it was removed
    Copy home_copy(const Work& work) const;

    Directory& directory_;
    NodeClient& nodes_;
    LeaseBook& leases_;
    const Observations& observations_;
    const FailoverPolicy policy_;
    const Clocks clocks_;
    const Say say_;

    // What this process has seen without a break.
    struct Timers {
        std::optional<Clock::time_point> source_gone, paused;  // since
        std::string alarmed;                                   // said last
    };
    std::mutex mutex_;
    std::map<std::string, Timers> timers_;  // under mutex_; by failover
};

}  // namespace lagan::cluster
