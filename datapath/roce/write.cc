// SPDX-License-Identifier: BSD-3-Clause
// RDMA WRITE. A page is put together in a fresh frame and published whole (page_builder.h).
// lagan: hot-path
#include <cstring>

#include "datapath/roce/icrc.h"
#include "datapath/roce/page_builder.h"
#include "datapath/roce/responder.h"

namespace lagan::roce {

using InMessage = Responder::InMessage;
using memory::kBlockBytes;
using memory::kPageBytes;
using memory::MemoryRegion;

inline constexpr uint64_t kMaxMessage = 1ULL << 31;  // IBA 9.7.4.1.1

namespace {

// Where a WRITE packet's bytes go, and what is left of its message before it.
struct WriteStep {
    const MemoryRegion* memory = nullptr;  // null: a message of no bytes
    uint64_t va = 0;
    uint32_t rkey = 0;
    uint32_t remaining = 0;
};

// C9-46..52: FIRST and MIDDLE carry exactly one path MTU and more follows, LAST and ONLY carry what is left.
bool length_ok(const Qp& qp, const Packet& packet, uint32_t remaining) {
    if (packet.info->has(kLast)) return packet.payload_bytes == remaining && remaining <= qp.mtu_bytes;
    return packet.payload_bytes == qp.mtu_bytes && remaining > qp.mtu_bytes;
}

Refusal plan_write(const Engine& engine, const Qp& qp, const Packet& packet, WriteStep& step) {
    const Responder& r = qp.responder;
    if (packet.info->has(kFirst)) {
        const auto& reth = packet.extension<Reth>(packet.info->reth);
        step = {.va = reth.va, .rkey = reth.rkey, .remaining = reth.length};
        if (step.remaining > kMaxMessage) return Refusal::message_length;
    } else {
        step = {.va = r.write_va, .rkey = r.write_rkey, .remaining = r.write_remaining};
    }
    if (!length_ok(qp, packet, step.remaining)) {
        return packet.payload_bytes > qp.mtu_bytes || !packet.info->has(kLast) ? Refusal::packet_length
                                                                               : Refusal::message_length;
    }
    if (step.remaining == 0) return Refusal::none;  // C9-88: the R_Key of zero bytes is not checked
    // The whole of what is left is checked at each packet: O(1), and the region may have gone in between.
    Refusal refusal;
    step.memory = find_memory(engine, qp, step.rkey, step.va, step.remaining, memory::kAccessWrite, refusal);
    return refusal;
}

// The packet's bytes are in place: the message and the expected PSN go on.
void finish_packet(Engine& engine, Qp& qp, const Packet& packet, const WriteStep& step) {
    Responder& r = qp.responder;
    engine.counters.write_bytes += packet.payload_bytes;
    if (packet.info->has(kLast)) {
        r.in_message = InMessage::none;
        r.msn++;
        engine.counters.write_messages++;
    } else {
        r.in_message = InMessage::write;
        r.write_va = step.va + packet.payload_bytes;
        r.write_rkey = step.rkey;
        r.write_remaining = step.remaining - packet.payload_bytes;
    }
    advance(engine, qp, packet);
}

// Whether the packet completes a page of which the message does not bring all, while the rest is elsewhere
// yet. Asked before anything happens: a page that is not pending now will not be later.
bool rest_is_pending(const PageBuilder& builder, const WriteStep& step, const Packet& packet) {
    const memory::Region& region = *step.memory->region;
    const uint64_t end = step.va + packet.payload_bytes;
    const uint64_t first_page = step.va / kPageBytes, last_page = (end - 1) / kPageBytes;
    const bool last_ends = end % kPageBytes == 0 || packet.info->has(kLast);
    bool pending = false;
    for (uint64_t page = first_page; page <= last_page; page++) {
        const bool goes_on =
            page == first_page && builder.frame != memory::kNoFrame && builder.to != builder.from;
        const uint64_t from = page != first_page ? 0 : goes_on ? builder.from : step.va % kPageBytes;
        const bool whole = from == 0 && end >= (page + 1) * kPageBytes;
        const bool completes = page != last_page || last_ends;
        if (completes && !whole && memory::want_if_pending(region, page)) pending = true;
    }
    return pending;
}

// Copies verified bytes page by page. False: refused or to be sent again (the QP's state is unchanged then).
bool store_bytes(Engine& engine, Qp& qp, const Packet& packet, const WriteStep& step) {
    memory::Region& region = *step.memory->region;
    const uint8_t* from = packet.payload;
    uint64_t va = step.va;
    uint32_t left = packet.payload_bytes;
    while (left != 0) {
        const uint32_t offset = va % kPageBytes;
        const uint32_t bytes = std::min(left, kPageBytes - offset);
        if (!start_page(engine, qp, va / kPageBytes, offset)) {
            refuse(engine, qp, Refusal::no_frames, packet.psn);
            return false;
        }
        append_to_page(engine, qp, from, bytes);
        left -= bytes;
        const bool message_ends = left == 0 && packet.info->has(kLast);
        if (offset + bytes == kPageBytes || message_ends) {
            const Refusal refusal = publish_built_page(engine, qp, region);
            if (refusal != Refusal::none) {
                refuse(engine, qp, refusal, packet.psn);
                return false;
            }
        }
        from += bytes;
        va += bytes;
    }
    return true;
}

// The message brings no more of this page. False: refused.
bool complete_page(Engine& engine, Qp& qp, memory::Region& region, uint32_t psn) {
    const PageBuilder& builder = qp.responder.builder;
    if (builder.from == 0 && builder.to == kPageBytes) {
        stage_built_page(engine, qp, region, psn);
        return true;
    }
    // What is missing comes from the page as it is now, which may be a staged one.
    if (qp.responder.has_staged_pages) publish_staged_pages(engine);
    if (qp.state == QpState::error) return false;
    const Refusal refusal = publish_built_page(engine, qp, region);
    if (refusal == Refusal::none) return true;
    refuse(engine, qp, refusal, psn);
    return false;
}

}  // namespace

void write_checked(Engine& engine, Qp& qp, const Packet& packet) {
    WriteStep step;
    const Refusal refusal = plan_write(engine, qp, packet, step);
    if (refusal != Refusal::none) return refuse(engine, qp, refusal, packet.psn);
    if (step.memory != nullptr) {
        if (step.memory->kind == MemoryRegion::Kind::flat) {
            std::memcpy(step.memory->base + step.va, packet.payload, packet.payload_bytes);
        } else {
            // A packet reaches into two pages at most.
            if (engine.retire()->room() < 2 + engine.staged_count)
                return engine.counters.drop(DropReason::retire_full);
            if (rest_is_pending(qp.responder.builder, step, packet)) [[unlikely]]
                return not_ready(engine, qp, kPendingTimer, packet.psn);
            if (!store_bytes(engine, qp, packet, step)) return;
        }
    }
    finish_packet(engine, qp, packet, step);
}

bool write_fused(Engine& engine, Qp& qp, const Packet& packet) {
    const uint32_t bytes = packet.payload_bytes;
    if (bytes == 0 || bytes % kBlockBytes != 0) return false;
    if (packet.info->has(kFirst) != (qp.responder.in_message == InMessage::none)) return false;
    if (!packet.info->has(kFirst) && qp.responder.in_message != InMessage::write) return false;
    WriteStep step;
    if (plan_write(engine, qp, packet, step) != Refusal::none) return false;
    const uint32_t offset = step.va % kPageBytes;
    if (step.memory->kind != MemoryRegion::Kind::paged || offset % kBlockBytes != 0 ||
        offset + bytes > kPageBytes)
        return false;
    if (engine.retire()->room() < 2 + engine.staged_count) return false;
    if (!start_page(engine, qp, step.va / kPageBytes, offset)) return false;

    PageBuilder& builder = qp.responder.builder;
    const uint32_t to = builder.to + bytes;
    const bool complete = to == kPageBytes || packet.info->has(kLast);
    const bool whole = builder.from == 0 && to == kPageBytes;
    // write_checked() says so to the requester.
    if (complete && !whole && step.memory->region->page_table[builder.page].load() == memory::kPtePending)
        [[unlikely]]
        return false;
    const uint32_t header_state =
        icrc_header_state(packet.ip, packet.is_ipv6, packet.transport_header_bytes());
    const uint32_t state = copy_blocks(engine, qp, packet.payload, bytes, header_state);
    if (!icrc_matches(packet.icrc(), state)) {
        // What was copied lies behind the builder's end and is overwritten by the retransmission.
        engine.counters.drop(DropReason::icrc);
        builder.known_crcs &= (1U << builder.to / kBlockBytes) - 1;
        return true;
    }
    if (!qp.has_received.load(std::memory_order_relaxed))
        qp.has_received.store(true, std::memory_order_relaxed);
    builder.to = to;
    if (complete && !complete_page(engine, qp, *step.memory->region, packet.psn)) return true;
    finish_packet(engine, qp, packet, step);
    return true;
}

}  // namespace lagan::roce
