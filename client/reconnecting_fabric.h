// SPDX-License-Identifier: BSD-3-Clause
// A fabric that makes its connection anew when it is lost, and repeats what was not acknowledged. Whoever
// stands on it notices nothing but that an operation takes long. docs/protocol.md, "Reconnecting", says why
// repeating is right. Single-threaded.
//
// Kept until they are done, in the order of posting: READs and WRITEs until they have completed, and messages
// until they have been answered (every message is taken for a request that gets one reply, as capsules do,
// and replies for coming in the order of the requests). The caller's buffers are valid until the completion
// anyway.
//
// An operation that the appliance has refused (a NAK) completes with that. The connection ends with it all
// the same, and what was posted behind it is repeated on the next one.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "client/fabric.h"

namespace lagan::client {

struct ReconnectOptions {
    // For so long an operation waits for the appliance to come back; 0: a connection that is lost has failed.
    std::chrono::milliseconds limit{0};
    // Between the first two tries; then twice as long each time, up to a second.
    std::chrono::milliseconds first_backoff{50};
    // Takes a line for people about an appliance that does not answer, or does again. May be empty.
    std::function<void(const std::string&)> tell;
    // Asked while poll() waits for an answer: true makes poll() return soon, without a connection. May be
    // empty.
    std::function<bool()> interrupted;
};

// How the connection is made anew.
struct WayBack {
    // What the connection stands on: a port that may have gone, say. Throws std::runtime_error while it is
    // not there.
    std::function<void()> restore;
    // A new connection to the same region. Throws Refused, or std::runtime_error when it may be tried again.
    std::function<std::unique_ptr<Fabric>()> connect;
    // Of a region that may move: does it live elsewhere now, where nothing that was sent on the old
    // connection is carried out any more? Asked when no answer has come for a while, and while the old
    // connection has not ended. Empty: it stays at one appliance.
    std::function<bool()> moved = {};
};

class ReconnectingFabric final : public Fabric {
  public:
    // `first` is connected.
    ReconnectingFabric(std::unique_ptr<Fabric> first, WayBack way, ReconnectOptions options);

    void register_memory(std::span<std::byte> memory) override;
    bool post_read(uint64_t cookie, uint32_t rkey, uint64_t remote_offset, void* local,
                   uint32_t bytes) override;
    bool post_write(uint64_t cookie, uint32_t rkey, uint64_t remote_offset, const void* local,
                    uint32_t bytes) override;
    bool post_send(uint64_t cookie, std::span<const std::byte> message) override;

    // Reconnects too, and blocks for that until ReconnectOptions::interrupted.
    size_t poll(std::span<Completion> out) override;
    size_t receive(std::span<std::byte> to) override;

    // As it was at first: R_Keys of later connections are translated.
    const RegionInfo& region() const override { return region_; }
    uint32_t send_queue_depth() const override { return send_queue_depth_; }
    bool connected() const override { return failure_.empty(); }  // also while it reconnects
    std::string failure() const override { return failure_; }
    void disconnect() override;
    uint64_t reconnections() const override { return reconnections_; }
    bool rolled_back() const override { return rolled_back_; }
    void set_reconnect_limit(std::chrono::milliseconds limit) override;

  private:
    using Clock = std::chrono::steady_clock;
    enum class Kind : uint8_t { read, write, message };
    struct Operation {
        Kind kind;
        uint64_t cookie = 0;
        uint32_t rkey = 0;
        uint64_t remote_offset = 0;
        void* local = nullptr;
        uint32_t bytes = 0;
        std::vector<std::byte> message;
        bool told = false;      // of a message: its completion; the reply is what it waits for
        bool answered = false;  // of a message: its reply has come before its completion
    };

    bool post(Operation operation);
    bool post_to_connection(const Operation& operation);
    void post_what_is_left();
    uint32_t key_now(uint32_t rkey) const;
    bool complete_oldest(CompletionStatus status);
    void note_reply();

    bool doubtful();
    void ask_for_life();
    void go_down(const std::string& why);
    void leave_out_what_was_done();
    void try_again();
    void reconnect();
    void check_same_region(const RegionInfo& found) const;
    void tell_of_trouble();
    void end(const std::string& why);
    size_t flush(std::span<Completion> out);

    const WayBack way_;
    ReconnectOptions options_;
    RegionInfo region_;
    RegionInfo region_now_;  // of the connection that is there
    const uint32_t send_queue_depth_;
    std::vector<std::span<std::byte>> registered_;

    std::unique_ptr<Fabric> connection_;  // null while it is lost
    std::unique_ptr<Fabric> old_;         // the one that was lost, until it has ended
    std::deque<Operation> operations_;    // posted and not acknowledged
    size_t posted_ = 0;                   // how many of them on this connection
    std::deque<Operation> unanswered_;    // messages that are acknowledged; older than operations_

    std::string failure_;  // why there will be no connection any more
    std::string trouble_;  // why there is none now
    Clock::time_point lost_at_{}, next_try_{};
    std::optional<Clock::time_point> waiting_since_;  // somebody needs the connection
    std::chrono::milliseconds backoff_;
    Clock::time_point last_answer_{};  // or since when there is something to answer
    bool told_ = false;
    bool rolled_back_ = false;
    uint64_t reconnections_ = 0;
};

}  // namespace lagan::client
