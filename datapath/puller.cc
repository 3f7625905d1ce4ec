// SPDX-License-Identifier: BSD-3-Clause
// lagan: hot-path
#include "datapath/puller.h"

#include <rte_common.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

namespace lagan {

namespace {

constexpr uint32_t kOrdersPerTurn = 64;
constexpr uint64_t kNobody = 0;  // the cookie of what is no order: a probe

}  // namespace

void Puller::Free::operator()(rte_ring* ring) const {
    std::free(ring);
}

// In memory of our own: connections come and go, and EAL's memory is counted out at the start.
Puller::Ring Puller::make_ring(uint32_t element_bytes, uint32_t count) {
    const uint32_t slots = rte_align32pow2(count + 1);
    const ssize_t bytes = rte_ring_get_memsize_elem(element_bytes, slots);
    if (bytes < 0) throw std::bad_alloc();  // lagan: cold
    const auto rounded = RTE_ALIGN_CEIL(static_cast<size_t>(bytes), size_t{RTE_CACHE_LINE_SIZE});
    void* memory = std::aligned_alloc(RTE_CACHE_LINE_SIZE, rounded);  // lagan: cold
    Ring ring(static_cast<rte_ring*>(memory));
    if (!ring || rte_ring_init(ring.get(), "puller", slots, RING_F_SP_ENQ | RING_F_SC_DEQ) != 0)
        throw std::bad_alloc();  // lagan: cold
    return ring;
}

Puller::Puller()
    : orders_(make_ring(sizeof(Order), kMaxOrders)),
      completions_(make_ring(sizeof(Completion), kMaxOrders)),
      messages_(make_ring(sizeof(MessageRing::Message), kMaxMessages)) {}

// ---- The worker ----

bool Puller::order(const Order& order) {
    if (outstanding_ == kMaxOrders || over()) return false;
    if (rte_ring_enqueue_elem(orders_.get(), const_cast<Order*>(&order), sizeof order) != 0) return false;
    outstanding_++;
    return true;
}

bool Puller::read(uint64_t cookie, uint32_t rkey, uint64_t va, std::byte* to, uint32_t bytes) {
    return order(
        {.cookie = cookie, .va = va, .memory = to, .bytes = bytes, .rkey = rkey, .kind = Order::Kind::read});
}

bool Puller::send(uint64_t cookie, std::span<const std::byte> message) {
    if (message.size() > kMaxMessageBytes) return false;
    return order({.cookie = cookie,
                  .va = 0,
                  .memory = const_cast<std::byte*>(message.data()),
                  .bytes = static_cast<uint32_t>(message.size()),
                  .rkey = 0,
                  .kind = Order::Kind::send});
}

size_t Puller::take_completions(std::span<Completion> out) {
    const bool engine_is_done = over();  // before the ring is looked at: then nothing comes behind
    size_t count =
        rte_ring_dequeue_burst_elem(completions_.get(), out.data(), sizeof(Completion),
                                    static_cast<unsigned>(std::min<size_t>(out.size(), kMaxOrders)), nullptr);
    // What the engine has not seen any more.
    Order order;
    while (engine_is_done && count < out.size() && next(order))
        out[count++] = {order.cookie, roce::WorkStatus::flushed};
    outstanding_ -= static_cast<uint32_t>(count);
    return count;
}

size_t Puller::take_message(std::span<std::byte> to) {
    MessageRing::Message message;
    if (rte_ring_dequeue_elem(messages_.get(), &message, sizeof message) != 0) return 0;
    const size_t bytes = std::min<size_t>(message.bytes, to.size());
    std::memcpy(to.data(), message.data, bytes);
    return bytes;
}

// ---- The engine ----

void Puller::attach(Engine& engine, Qp& qp) {
    qp_ = &qp;
    qp.puller = this;
    engine.pullers.push_back(this);  // lagan: cold
}

bool Puller::next(Order& order) const {
    return rte_ring_dequeue_elem(orders_.get(), &order, sizeof order) == 0;
}

bool Puller::post(Engine& engine, const Order& order) const {
    if (order.kind == Order::Kind::read)
        return roce::post_read(engine, *qp_, order.cookie, order.rkey, order.va, order.memory, order.bytes);
    return roce::post_send(engine, *qp_, order.cookie, order.memory, order.bytes);
}

uint32_t Puller::hand_on_messages() const {
    MessageRing& ring = qp_->responder.received;
    uint32_t count = 0;
    while (!ring.empty() &&
           rte_ring_enqueue_elem(messages_.get(), &ring.at(ring.head), sizeof(MessageRing::Message)) == 0) {
        ring.head++;
        count++;
    }
    return count;
}

uint32_t Puller::serve(Engine& engine) {
    if (stop_.load(std::memory_order_relaxed)) [[unlikely]]
        roce::fail_requests(engine, *qp_, roce::WorkStatus::flushed);
    uint32_t work = hand_on_messages();
    if (qp_->state == QpState::error) [[unlikely]] {
        std::erase(engine.pullers, this);
        end();
        return work + 1;
    }
    Order order;
    for (uint32_t i = 0; i < kOrdersPerTurn; i++) {
        if (held_) {
            order = *held_;
        } else if (!next(order)) {
            break;
        }
        if (!post(engine, order)) {
            held_ = order;
            break;
        }
        held_.reset();
        work++;
    }
    return work;
}

void Puller::complete(uint64_t cookie, roce::WorkStatus status) {
    if (cookie == kNobody) return;
    Completion completion{cookie, status};
    rte_ring_enqueue_elem(completions_.get(), &completion, sizeof completion);
}

void Puller::end() {
    if (held_) complete(held_->cookie, roce::WorkStatus::flushed);
    held_.reset();
    qp_->puller = nullptr;
    qp_ = nullptr;
    over_.store(true, std::memory_order_release);
}

}  // namespace lagan
