// SPDX-License-Identifier: BSD-3-Clause
// What the manager that leads does all the time: heartbeats with leases, failovers of regions whose homes
// have gone, and tidying up behind them. Without threads of its own, so that tests can be its clock.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "mgmt/cluster/failover_runner.h"

namespace lagan::cluster {

class Controller {
  public:
    struct Parts {
        Directory& directory;
        Views& views;
        NodeClient& nodes;
        LeaseBook& leases;
        Observations& observations;
        FailoverRunner& runner;
        FailoverRunner::Clocks clocks;
        FailoverRunner::Say say;
    };
    explicit Controller(Parts parts) : parts_(std::move(parts)) {}

    // We lead, as of a question asked at `asked`. The first time (again) the directory is read before anybody
    // gets a lease. Throws DirectoryError.
    void lead(Clock::time_point asked, std::chrono::milliseconds leader_ttl);

    // One heartbeat to the node, with the leases of the regions that are at home there. Any thread; one at a
    // time for each node.
    void beat(const std::string& node);

    // Begins failovers. What is seen of nodes is only believed when all have been asked for long enough.
    void detect();

    // Deletes copies that are no region's home any more, ends what a manager has begun and not finished, and
    // forgets old failovers.
    void tidy();

    std::vector<std::string> failovers() const;  // under way

  private:
    std::string trouble(const RegionRecord& region) const;  // empty: its home serves
    void tidy_node(const View& view, const std::string& name);
    void release_left(const View& view);
    void end_half_made(const View& view);
    void end_half_made(const View& view, Versioned<RegionRecord> region);
    void forget_ended_failovers();
    void renew_grants(const View& view);
    void drain(const View& view);
    void warn_of_frozen(const View& view);
    void delete_copy(const View& view, const std::string& node, const HeardRegion& copy, const char* why);
    void forget_old_notes();
    void shorten_lease();

    Parts parts_;
    // tidy()'s:
    Clock::time_point next_look_at_notes_{};
    std::map<std::string, Clock::time_point> next_drain_;    // by region: moves that fail are tried again
    std::map<std::string, Clock::time_point> frozen_since_;  // by region
    std::set<std::string> said_frozen_;
};

}  // namespace lagan::cluster
