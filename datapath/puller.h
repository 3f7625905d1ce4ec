// SPDX-License-Identifier: BSD-3-Clause
// A connection that we opened ourselves, driven from another thread: it orders READs and messages, the
// engine posts them on the queue pair and tells how they ended. How an appliance pulls a region's pages from
// another one.
//
// Three threads: the control thread gives the puller to the engine (Engine::attach_puller), one worker orders
// and takes, the engine serves. The queue pair is the engine's; the puller belongs to whoever made it, and
// must live until over().
#pragma once

#include <rte_ring.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "datapath/roce/requester.h"

namespace lagan {

class Puller {
  public:
    static constexpr uint32_t kMaxOrders = 1024;  // not yet told of
    static constexpr uint32_t kMaxMessages = 8;   // received and not yet taken; then the peer is told to wait

    Puller();  // throws std::bad_alloc
    Puller(const Puller&) = delete;
    Puller& operator=(const Puller&) = delete;

    struct Completion {
        uint64_t cookie;
        roce::WorkStatus status;
    };

    // ---- One worker thread. None of these waits. ----
    // False: kMaxOrders are on their way, or the connection is over. Each order is told of once, in the order
    // of ordering; until then `to` is written to at any time, and `message` (<= kMaxMessageBytes) read.
    // Cookies are not 0.
    bool read(uint64_t cookie, uint32_t rkey, uint64_t va, std::byte* to, uint32_t bytes);
    bool send(uint64_t cookie, std::span<const std::byte> message);
    size_t take_completions(std::span<Completion> out);
    // A message of the peer's, cut to fit; 0: none.
    size_t take_message(std::span<std::byte> to);
    uint32_t outstanding() const { return outstanding_; }

    // ---- Any thread ----
    // The connection fails at the engine's next turn; what is on its way ends as flushed.
    void stop() { stop_.store(true, std::memory_order_relaxed); }
    // The connection has failed or was closed, and the engine knows nothing of the puller any more. What was
    // ordered can be taken as ended.
    bool over() const { return over_.load(std::memory_order_acquire); }

    // ---- The engine's lcore. lagan: hot-path ----
    void attach(Engine& engine, Qp& qp);
    // One turn: posts what was ordered, hands messages on. Bounded. Returns the work done. On a queue pair
    // that has failed it ends the puller, which the engine then forgets.
    uint32_t serve(Engine& engine);
    void complete(uint64_t cookie, roce::WorkStatus status);
    // The queue pair goes; all its requests have been told of.
    void end();

  private:
    struct Order {
        uint64_t cookie;
        uint64_t va;
        std::byte* memory;
        uint32_t bytes;
        uint32_t rkey;
        enum class Kind : uint64_t { read, send } kind;
    };
    struct Free {
        void operator()(rte_ring* ring) const;
    };
    using Ring = std::unique_ptr<rte_ring, Free>;
    static Ring make_ring(uint32_t element_bytes, uint32_t count);

    bool order(const Order& order);
    bool next(Order& order) const;
    bool post(Engine& engine, const Order& order) const;
    uint32_t hand_on_messages() const;

    // worker
    uint32_t outstanding_ = 0;
    // any
    std::atomic<bool> stop_{false};
    std::atomic<bool> over_{false};
    // engine; the worker's from over_ on
    Qp* qp_ = nullptr;
    std::optional<Order> held_;  // the send queue had no place for it
    // one producer, one consumer each
    Ring orders_;       // worker → engine: Order
    Ring completions_;  // engine → worker: Completion; has room for all that can be on their way
    Ring messages_;     // engine → worker: MessageRing::Message
};

}  // namespace lagan
