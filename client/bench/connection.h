// SPDX-License-Identifier: BSD-3-Clause
// One connection under load: its outstanding operations, their buffers, and what becomes of them.
// Single-threaded.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "client/bench/figures.h"
#include "client/bench/verifier.h"
#include "client/session.h"

namespace lagan::bench {

inline uint64_t now_ns() {
    return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}

struct Request {
    OpKind kind;
    uint64_t offset;
    uint32_t bytes;   // of a free: whole pages
    uint64_t due_ns;  // when latency begins to count
};

class Connection {
  public:
    // A part of the region: nobody else writes there while data are verified.
    struct Share {
        uint64_t begin;
        uint64_t end;
        bool holds(uint64_t offset, uint64_t bytes) const { return offset >= begin && offset + bytes <= end; }
    };

    // `verifier` may be null. Both outlive this.
    Connection(std::unique_ptr<client::Session> session, uint32_t depth, uint32_t buffer_bytes,
               const Share& share, Verifier* verifier, Figures& figures);

    const Share& share() const { return share_; }
    bool has_room() const { return !idle_.empty(); }
    bool is_idle() const { return idle_.size() == slots_.size(); }
    bool connected() const { return failure_.empty() && session_->connected(); }
    // A roll-back says more than the operation that found it.
    std::string failure() const { return failure_.empty() || rolled_back() ? session_->failure() : failure_; }
    uint64_t reconnections() const { return session_->reconnections(); }
    bool rolled_back() const { return session_->rolled_back(); }

    // False: there is no room now; poll and try again.
    bool post(const Request& request);
    void poll();
    // A connection that is lost, or is being made again, fails from now on.
    void stay_down() { session_->set_reconnect_limit(std::chrono::milliseconds(0)); }
    void disconnect() { session_->disconnect(); }

  private:
    struct Slot {
        Request request;
        std::span<std::byte> buffer;
        std::vector<uint32_t> oldest;  // of a read that is verified
    };

    bool hand_over(const Request& request, uint32_t slot);
    void completed(const client::Completion& completion);

    std::unique_ptr<client::Session> session_;
    const Share share_;
    Verifier* verifier_;
    Figures& figures_;
    std::vector<std::byte> memory_;
    std::vector<Slot> slots_;
    std::vector<uint32_t> idle_;
    std::string failure_;
};

}  // namespace lagan::bench
