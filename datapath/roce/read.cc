// SPDX-License-Identifier: BSD-3-Clause
// READ: accepted once, then answered packet by packet (reply.cc says when).
// lagan: hot-path
#include "datapath/memory/region.h"
#include "datapath/roce/read_reply.h"
#include "datapath/roce/responder.h"

namespace lagan::roce {

inline constexpr uint32_t kMaxReadBytes = 1U << 31;  // IBA 9.7.4.1.1
inline constexpr uint64_t kAskAhead = 32;            // pages that a READ that waits asks for at once

void accept_read(Engine& engine, Qp& qp, const Packet& packet) {
    const auto& reth = packet.extension<Reth>(packet.info->reth);
    const uint32_t length = reth.length;
    if (length > kMaxReadBytes) return refuse(engine, qp, Refusal::message_length, packet.psn);
    if (replies_full(qp)) return refuse(engine, qp, Refusal::read_depth, packet.psn);
    if (length != 0) {  // C9-88: the R_Key of a READ of no bytes is not checked
        Refusal refusal;
        find_memory(engine, qp, reth.rkey, reth.va, length, memory::kAccessRead, refusal);
        if (refusal != Refusal::none) return refuse(engine, qp, refusal, packet.psn);
    }
    Reply& read = add_reply(engine, qp, Reply::Kind::read, packet.psn, psn_count(length, qp.mtu_bytes));
    read.rkey = reth.rkey;
    read.length = length;
    read.va = reth.va;
    engine.counters.reads++;
}

// Nothing is answered behind an error.
static bool fail_read(Engine& engine, Qp& qp, Refusal refusal, uint32_t psn) {
    qp.responder.reply_head = qp.responder.reply_tail;
    refuse(engine, qp, refusal, psn);
    return false;
}

// The READ goes on when its pages have come. What it needs next is asked for with the page in hand, so that a
// long READ does not wait for one page after the other.
static void park(Engine& engine, Qp& qp, const memory::Region& region, uint64_t va, uint32_t bytes) {
    const uint64_t first = va / memory::kPageBytes;
    const uint64_t end = std::min((va + bytes - 1) / memory::kPageBytes + 1, first + kAskAhead);
    for (uint64_t page = first; page < end; page++)
        memory::want_if_pending(region, page);
    engine.park(qp);
}

bool send_read_packet(Engine& engine, Qp& qp, const Reply& read) {
    const Responder& r = qp.responder;
    const uint32_t skipped = r.reply_cursor << qp.mtu_shift;
    const bool first = r.reply_cursor == r.reply_start;
    const bool last = r.reply_cursor + 1 == read.packets;
    const ReadReply reply = {
        .opcode = first ? (last ? Opcode::rc_read_response_only : Opcode::rc_read_response_first)
                        : (last ? Opcode::rc_read_response_last : Opcode::rc_read_response_middle),
        .psn = psn_add(read.first_psn, r.reply_cursor),
        .msn = read.msn,
        .va = read.va + skipped,
        .bytes = std::min<uint32_t>(read.length - skipped, qp.mtu_bytes),
        .again = static_cast<int32_t>(r.reply_done - r.reply_head) > 0};

    Refusal refusal = Refusal::none;
    const memory::MemoryRegion* memory = nullptr;
    if (read.length != 0) {  // checked again at each execution: the region may have gone
        memory = find_memory(engine, qp, read.rkey, reply.va, reply.bytes, memory::kAccessRead, refusal);
        if (memory == nullptr) [[unlikely]]
            return fail_read(engine, qp, refusal, reply.psn);
    }
    const ReadOutcome outcome = send_read_reply(engine, qp, memory, reply);
    if (outcome == ReadOutcome::sent) [[likely]]
        return true;
    if (outcome == ReadOutcome::pending) park(engine, qp, *memory->region, reply.va, read.length - skipped);
    if (outcome == ReadOutcome::poisoned) fail_read(engine, qp, Refusal::poisoned_page, reply.psn);
    return false;
}

}  // namespace lagan::roce
