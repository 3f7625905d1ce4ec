// SPDX-License-Identifier: BSD-3-Clause
// The load: chooses operations and keeps the connections busy with them, as many as go (closed loop) or at a
// rate (open loop).
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "client/bench/connection.h"
#include "client/bench/options.h"

namespace lagan::bench {

class Load {
  public:
    using Connections = std::vector<std::unique_ptr<Connection>>;

    // Ends early, with what there is so far, when `stop` becomes true. All outlive this.
    Load(const Options& options, uint64_t region_bytes, const Connections& connections, Figures& figures,
         const std::atomic<bool>& stop);

    // Writes the whole region, every connection its share of it.
    void fill();
    // Warm-up and measured part. `every_second` is told.
    void run(const std::function<void()>& every_second);

    // Why a connection ended before its time; empty: none did.
    std::string failure() const;

  private:
    // A connection, and what it does next.
    struct Source {
        Connection* connection;
        Pattern reads;   // anywhere in the region
        Pattern writes;  // in the connection's share when data are verified
        uint64_t write_base;
        std::optional<Request> next;  // chosen, and there was no room for it
    };

    Request choose(Source& source, uint64_t due_ns);
    bool over(uint64_t now) const;
    // Whether the source may post one now; due_ns is then when it was due.
    bool is_due(uint64_t now, uint64_t& due_ns) const;
    void post_due(Source& source);
    void drain();

    const Options& options_;
    const Connections& connections_;
    Figures& figures_;
    const std::atomic<bool>& stop_;
    std::mt19937_64 random_;
    std::vector<Source> sources_;
    uint64_t start_ns_ = 0;  // of the warm-up
    uint64_t end_ns_ = 0;
    uint64_t scheduled_ = 0;  // with a rate: operations taken from the schedule
    uint64_t measured_ = 0;   // chosen after the warm-up
};

}  // namespace lagan::bench
