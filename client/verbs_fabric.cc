// SPDX-License-Identifier: BSD-3-Clause
#include "client/verbs_fabric.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "client/welcome.h"

namespace lagan::client {

// How often an idle connection looks whether it has ended: a look costs a system call.
static constexpr std::chrono::milliseconds kLookAround{10};
static constexpr uint64_t kReceiveBit = 1ULL << 63;  // in wr_id

static CompletionStatus to_completion(ibv_wc_status status) {
    switch (status) {
        case IBV_WC_SUCCESS:
            return CompletionStatus::success;
        case IBV_WC_REM_ACCESS_ERR:
            return CompletionStatus::remote_access_error;
        case IBV_WC_REM_INV_REQ_ERR:
        case IBV_WC_BAD_RESP_ERR:
            return CompletionStatus::remote_invalid_request;
        case IBV_WC_REM_OP_ERR:
            return CompletionStatus::remote_operational_error;
        case IBV_WC_RETRY_EXC_ERR:
            return CompletionStatus::retry_exceeded;
        case IBV_WC_RNR_RETRY_EXC_ERR:
            return CompletionStatus::rnr_retry_exceeded;
        default:
            return CompletionStatus::flushed;
    }
}

VerbsFabric::VerbsFabric(const VerbsConnectOptions& options)
    : staging_(std::make_unique<std::byte[]>(size_t{kSendQueueDepth + kReceiveDepth} * kSlotBytes)),
      connection_(options, kSendQueueDepth, kReceiveDepth),
      memory_(connection_.protection_domain()) {
    memory_.add(std::span(staging_.get(), size_t{kSendQueueDepth + kReceiveDepth} * kSlotBytes));
    staging_key_ = memory_.find(staging_.get(), 0)->lkey;
    for (uint32_t slot = 0; slot < kReceiveDepth; slot++)
        post_receive(slot);
    const std::vector<uint8_t> welcome = connection_.connect(options.grant);
    try {
        region_ = read_welcome(welcome);
    } catch (...) {
        connection_.disconnect();
        throw;
    }
}

VerbsFabric::~VerbsFabric() {
    disconnect();
    connection_.destroy_queue_pair();
}

void VerbsFabric::post_receive(uint32_t slot) {
    ibv_sge part = {.addr = reinterpret_cast<uintptr_t>(receive_staging(slot)),
                    .length = kSlotBytes,
                    .lkey = staging_key_};
    ibv_recv_wr work{};
    work.wr_id = kReceiveBit | slot;
    work.sg_list = &part;
    work.num_sge = 1;
    ibv_recv_wr* bad = nullptr;
    if (const int error = ibv_post_recv(connection_.queue_pair(), &work, &bad))
        fail(fmt::format("cannot post a receive: {}", strerror(error)));
}

// Where the device finds the operation's memory, or puts it.
ibv_sge VerbsFabric::make_reachable(uint32_t number, const Operation& operation) {
    Slot& slot = slots_[number];
    slot = {.cookie = operation.cookie, .bytes = operation.bytes};
    const auto at = [&](const void* memory, uint32_t key) {
        return ibv_sge{.addr = reinterpret_cast<uintptr_t>(memory), .length = operation.bytes, .lkey = key};
    };
    const bool is_read = operation.opcode == IBV_WR_RDMA_READ;
    if (const ibv_mr* piece = memory_.find(operation.local, operation.bytes))
        return at(operation.local, piece->lkey);
    if (operation.bytes > kSlotBytes) {
        slot.registered = register_with_device(connection_.protection_domain(), operation.local,
                                               operation.bytes, is_read ? IBV_ACCESS_LOCAL_WRITE : 0);
        return at(operation.local, slot.registered->lkey);
    }
    if (is_read) {
        slot.copy_to = const_cast<void*>(operation.local);
    } else if (operation.bytes != 0) {
        std::memcpy(send_staging(number), operation.local, operation.bytes);
    }
    return at(send_staging(number), staging_key_);
}

bool VerbsFabric::post(const Operation& operation) {
    if (!connected() || posted_ - completed_ == kSendQueueDepth) return false;
    const auto number = static_cast<uint32_t>(posted_ % kSendQueueDepth);
    ibv_sge part = make_reachable(number, operation);
    ibv_send_wr work{};
    work.wr_id = number;
    work.sg_list = &part;
    work.num_sge = operation.bytes != 0 ? 1 : 0;
    work.opcode = operation.opcode;
    work.wr.rdma.remote_addr = operation.remote_offset;
    work.wr.rdma.rkey = operation.rkey;
    ibv_send_wr* bad = nullptr;
    const int error = ibv_post_send(connection_.queue_pair(), &work, &bad);
    if (error == 0) posted_++;
    if (error != 0 && error != ENOMEM)  // ENOMEM: the device's queue is full
        fail(fmt::format("the RDMA device does not take a request: {}", strerror(error)));
    return error == 0;
}

bool VerbsFabric::post_read(uint64_t cookie, uint32_t rkey, uint64_t remote_offset, void* local,
                            uint32_t bytes) {
    return post({IBV_WR_RDMA_READ, cookie, rkey, remote_offset, local, bytes});
}

bool VerbsFabric::post_write(uint64_t cookie, uint32_t rkey, uint64_t remote_offset, const void* local,
                             uint32_t bytes) {
    return post({IBV_WR_RDMA_WRITE, cookie, rkey, remote_offset, local, bytes});
}

bool VerbsFabric::post_send(uint64_t cookie, std::span<const std::byte> message) {
    if (message.size() > kSlotBytes) throw std::length_error("a message is at most 4 KiB");
    return post({IBV_WR_SEND, cookie, 0, 0, message.data(), static_cast<uint32_t>(message.size())});
}

Completion VerbsFabric::completed(const ibv_wc& entry) {
    Slot& slot = slots_[entry.wr_id];
    completed_++;
    if (entry.status == IBV_WC_SUCCESS) {
        if (slot.copy_to != nullptr && slot.bytes != 0)
            std::memcpy(slot.copy_to, send_staging(static_cast<uint32_t>(entry.wr_id)), slot.bytes);
    } else {
        const CompletionStatus status = to_completion(entry.status);
        fail(status == CompletionStatus::flushed ? ibv_wc_status_str(entry.status) : to_string(status));
    }
    slot.registered.reset();
    return {slot.cookie, to_completion(entry.status)};
}

void VerbsFabric::received(const ibv_wc& entry) {
    if (entry.status != IBV_WC_SUCCESS) return;  // flushed: the connection has ended
    received_[arrived_++ % kReceiveDepth] = {static_cast<uint32_t>(entry.wr_id & ~kReceiveBit),
                                             entry.byte_len};
}

size_t VerbsFabric::poll(std::span<Completion> out) {
    ibv_wc found[32];
    const auto wanted = static_cast<int>(std::min(out.size(), std::size(found)));
    const int count = ibv_poll_cq(connection_.completion_queue(), wanted, found);
    if (count < 0) fail("the RDMA device's completion queue has failed");
    if (count <= 0) look_for_end();
    size_t filled = 0;
    for (int i = 0; i < count; i++) {
        if ((found[i].wr_id & kReceiveBit) != 0) {
            received(found[i]);
        } else {
            out[filled++] = completed(found[i]);
        }
    }
    if (count <= 0 && connection_.device_gone()) filled = flush(out);
    return filled;
}

// A device that has been removed completes nothing any more.
size_t VerbsFabric::flush(std::span<Completion> out) {
    size_t filled = 0;
    while (filled < out.size() && completed_ != posted_) {
        Slot& slot = slots_[completed_++ % kSendQueueDepth];
        slot.registered.reset();
        out[filled++] = {slot.cookie, CompletionStatus::flushed};
    }
    return filled;
}

void VerbsFabric::look_for_end() {
    const auto now = std::chrono::steady_clock::now();
    if (!connected() || now - last_look_ < kLookAround) return;
    last_look_ = now;
    const std::string why = connection_.look_for_end();
    if (!why.empty()) fail(why);
}

size_t VerbsFabric::receive(std::span<std::byte> to) {
    if (taken_ == arrived_) return 0;
    const Received message = received_[taken_++ % kReceiveDepth];
    const size_t bytes = std::min<size_t>(message.bytes, to.size());
    std::memcpy(to.data(), receive_staging(message.slot), bytes);
    if (connected()) post_receive(message.slot);
    return bytes;
}

void VerbsFabric::disconnect() {
    if (!connected()) return;
    connection_.disconnect();
    fail("the connection has ended: closed here");
}

bool VerbsFabric::try_disconnect() {
    fail("the connection has ended: closed here");
    return connection_.try_disconnect();
}

}  // namespace lagan::client
