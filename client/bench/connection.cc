// SPDX-License-Identifier: BSD-3-Clause
#include "client/bench/connection.h"

#include <fmt/format.h>

#include <algorithm>

namespace lagan::bench {

inline constexpr size_t kCompletionsAtOnce = 64;

Connection::Connection(std::unique_ptr<client::Session> session, uint32_t depth, uint32_t buffer_bytes,
                       const Share& share, Verifier* verifier, Figures& figures)
    : session_(std::move(session)),
      share_(share),
      verifier_(verifier),
      figures_(figures),
      memory_(uint64_t{depth} * buffer_bytes, std::byte{0xa5}),  // not zeros: a page of zeros takes no frame
      slots_(depth) {
    session_->register_memory(memory_);
    for (uint32_t i = depth; i-- > 0;) {
        slots_[i].buffer = std::span(memory_).subspan(uint64_t{i} * buffer_bytes, buffer_bytes);
        idle_.push_back(i);
    }
}

bool Connection::hand_over(const Request& request, uint32_t slot) {
    std::byte* buffer = slots_[slot].buffer.data();
    switch (request.kind) {
        case OpKind::read:
            return session_->read(slot, request.offset, buffer, request.bytes);
        case OpKind::write:
            return session_->store(slot, request.offset, buffer, request.bytes);
        case OpKind::free:
            break;
    }
    const uint32_t page_bytes = session_->region().page_bytes;
    return session_->free_pages(slot, request.offset / page_bytes, request.bytes / page_bytes);
}

bool Connection::post(const Request& request) {
    if (idle_.empty()) return false;
    const uint32_t number = idle_.back();
    Slot& slot = slots_[number];
    if (verifier_ != nullptr && request.kind != OpKind::read &&
        !verifier_->writable(request.offset, request.bytes))
        return false;
    if (verifier_ != nullptr && request.kind == OpKind::write)
        verifier_->fill(request.offset, slot.buffer.first(request.bytes));
    if (!hand_over(request, number)) return false;
    idle_.pop_back();
    slot.request = request;
    if (verifier_ == nullptr) return true;
    switch (request.kind) {
        case OpKind::read:
            verifier_->posted_read(request.offset, request.bytes, share_.holds(request.offset, request.bytes),
                                   slot.oldest);
            break;
        case OpKind::write:
            verifier_->posted_write(request.offset, request.bytes);
            break;
        case OpKind::free:
            verifier_->posted_free(request.offset, request.bytes);
            break;
    }
    return true;
}

void Connection::completed(const client::Completion& completion) {
    const auto number = static_cast<uint32_t>(completion.cookie);
    Slot& slot = slots_[number];
    idle_.push_back(number);
    const Request& request = slot.request;
    const uint32_t kind = index_of(request.kind);
    if (completion.status != client::CompletionStatus::success) {
        if (failure_.empty()) {
            failure_ = fmt::format("{} of {} bytes at offset {:#x}: {}", kOpNames[kind], request.bytes,
                                   request.offset, client::to_string(completion.status));
        }
        return;
    }
    const uint64_t now = now_ns();
    if (request.due_ns >= figures_.from_ns) {
        figures_.latency[kind].record(now - request.due_ns);
        figures_.bytes[kind] += request.bytes;
        figures_.to_ns = std::max(figures_.to_ns, now);
    }
    if (verifier_ == nullptr) return;
    if (request.kind == OpKind::read) {
        verifier_->check_read(request.offset, slot.buffer.first(request.bytes), slot.oldest);
    } else {
        verifier_->completed_change(request.offset, request.bytes);
    }
}

void Connection::poll() {
    client::Completion found[kCompletionsAtOnce];
    const size_t count = session_->poll(found);
    for (size_t i = 0; i < count; i++)
        completed(found[i]);
}

}  // namespace lagan::bench
