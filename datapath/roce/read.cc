// SPDX-License-Identifier: BSD-3-Clause
// READ: requests are kept in a ring and answered in slices, so that a long one does not starve other QPs.
// Responses leave in PSN order; an acknowledgement that becomes due meanwhile waits behind them
// (acknowledge.cc). lagan: hot-path
#include "datapath/memory/region.h"
#include "datapath/roce/read_reply.h"
#include "datapath/roce/responder.h"
#include "datapath/transmit.h"

namespace lagan::roce {

inline constexpr uint32_t kMaxReadBytes = 1U << 31;  // IBA 9.7.4.1.1

// The next response is the given packet of the given READ, as a FIRST or ONLY.
static void go_on_from(Responder& r, uint32_t index, uint32_t packet) {
    r.read_head = index;
    r.read_cursor = r.read_start = packet;
    if (static_cast<int32_t>(index - r.read_done) > 0) r.read_done = index;
}

void accept_read(Engine& engine, Qp& qp, const Packet& packet) {
    Responder& r = qp.responder;
    const auto& reth = packet.extension<Reth>(packet.info->reth);
    const uint32_t length = reth.length;
    if (length > kMaxReadBytes) return refuse(engine, qp, Refusal::message_length, packet.psn);
    if (r.read_tail - r.read_done >= qp.responder_resources)
        return refuse(engine, qp, Refusal::read_depth, packet.psn);
    if (length != 0) {  // C9-88: the R_Key of a READ of no bytes is not checked
        Refusal refusal;
        find_memory(engine, qp, reth.rkey, reth.va, length, memory::kAccessRead, refusal);
        if (refusal != Refusal::none) return refuse(engine, qp, refusal, packet.psn);
    }
    // A stray duplicate may have put back READs whose answers the requester has, or it could not ask for
    // more.
    if (r.read_tail - r.read_head >= qp.responder_resources)
        go_on_from(r, r.read_tail + 1 - qp.responder_resources, 0);
    r.msn++;  // C9-148: at execution, once
    r.read_at(r.read_tail++) = {.va = reth.va,
                                .rkey = reth.rkey,
                                .length = length,
                                .first_psn = packet.psn,
                                .packets = psn_count(length, qp.mtu_bytes),
                                .msn = r.msn};
    r.expected_psn = psn_add(packet.psn, psn_count(length, qp.mtu_bytes));
    r.nak_sent = false;
    r.nak_due = 0;
    r.ack_due = false;  // the response acknowledges everything before it
    engine.counters.reads++;
    engine.activate(qp);
}

// C9-105: a duplicate READ is executed again from its PSN on; it must lie within the original. The responses
// behind it are sent again too, since a requester that goes back asks for them as well: one rewind serves all
// its duplicates.
void repeat_read(Engine& engine, Qp& qp, const Packet& packet) {
    Responder& r = qp.responder;
    const auto& reth = packet.extension<Reth>(packet.info->reth);
    const uint32_t kept = std::min<uint32_t>(r.read_tail, kMaxReadDepth);
    for (uint32_t back = 1; back <= kept; back++) {
        const uint32_t index = r.read_tail - back;
        const ReadContext& read = r.read_at(index);
        const uint32_t packets_in = psn_distance(read.first_psn, packet.psn);
        if (packets_in >= read.packets) continue;

        const uint64_t skipped = static_cast<uint64_t>(packets_in) << qp.mtu_shift;
        const bool within = reth.length == 0 ? read.length == 0
                                             : reth.rkey == read.rkey && reth.va == read.va + skipped &&
                                                   reth.length <= read.length - skipped;
        if (!within) return refuse(engine, qp, Refusal::duplicate_read, packet.psn);
        // To be answered anyhow? Who asks from the middle has what comes before, however, and expects a FIRST
        // there.
        const int32_t to_come = static_cast<int32_t>(index - r.read_head);
        if (packets_in == 0 && (to_come > 0 || (to_come == 0 && r.read_cursor == 0))) return;
        go_on_from(r, index, packets_in);
        return engine.activate(qp);
    }
    engine.counters.drop(DropReason::psn_invalid);
}

static bool serve_packet(Engine& engine, Qp& qp) {
    Responder& r = qp.responder;
    const ReadContext& read = r.read_at(r.read_head);
    const uint32_t skipped = r.read_cursor << qp.mtu_shift;
    const bool first = r.read_cursor == r.read_start;
    const bool last = r.read_cursor + 1 == read.packets;
    const ReadReply reply = {
        .opcode = first ? (last ? Opcode::rc_read_response_only : Opcode::rc_read_response_first)
                        : (last ? Opcode::rc_read_response_last : Opcode::rc_read_response_middle),
        .psn = psn_add(read.first_psn, r.read_cursor),
        .msn = read.msn,
        .va = read.va + skipped,
        .bytes = std::min<uint32_t>(read.length - skipped, qp.mtu_bytes)};

    Refusal refusal = Refusal::none;
    const memory::MemoryRegion* memory = nullptr;
    if (read.length != 0) {  // checked again at each execution: the region may have gone
        memory = find_memory(engine, qp, read.rkey, reply.va, reply.bytes, memory::kAccessRead, refusal);
    }
    bool sent = false;
    if (refusal == Refusal::none) refusal = send_read_reply(engine, qp, memory, reply, sent);
    if (refusal != Refusal::none) {
        r.read_head = r.read_tail;  // nothing is answered behind an error
        refuse(engine, qp, refusal, reply.psn);
        return false;
    }
    if (!sent) return false;  // out of mbufs: go on in the next iteration
    r.read_cursor++;
    if (last) go_on_from(r, r.read_head + 1, 0);
    return true;
}

uint32_t serve_reads(Engine& engine, Qp& qp, uint32_t budget) {
    uint32_t served = 0;
    while (served < budget && qp.responder.reads_due() && tx_room(engine, qp) != 0) {
        if (!serve_packet(engine, qp)) break;
        served++;
    }
    return served;
}

}  // namespace lagan::roce
