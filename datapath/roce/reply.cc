// SPDX-License-Identifier: BSD-3-Clause
// The ring of READs and atomics that a QP is still to answer, or has answered and may be asked for again.
// Answers are given in slices, so that a long READ does not starve other QPs. Responses leave in PSN order;
// an acknowledgement that becomes due meanwhile waits behind them (acknowledge.cc). lagan: hot-path
#include "datapath/roce/responder.h"
#include "datapath/transmit.h"

namespace lagan::roce {

// The next response is the given packet of the given request; of a READ, as a FIRST or ONLY.
static void go_on_from(Responder& r, uint32_t index, uint32_t packet) {
    r.reply_head = index;
    r.reply_cursor = r.reply_start = packet;
    if (static_cast<int32_t>(index - r.reply_done) > 0) r.reply_done = index;
}

bool replies_full(const Qp& qp) {
    return qp.responder.reply_tail - qp.responder.reply_done >= qp.responder_resources;
}

Reply& add_reply(Engine& engine, Qp& qp, Reply::Kind kind, uint32_t psn, uint32_t packets) {
    Responder& r = qp.responder;
    // A stray duplicate may have put back requests whose answers the requester has, or it could not ask for
    // more.
    if (r.reply_tail - r.reply_head >= qp.responder_resources)
        go_on_from(r, r.reply_tail + 1 - qp.responder_resources, 0);
    Reply& reply = r.reply_at(r.reply_tail++);
    reply.kind = kind;
    reply.first_psn = psn;
    reply.packets = packets;
    reply.msn = ++r.msn;  // C9-148: at execution, once
    r.expected_psn = psn_add(psn, packets);
    r.nak_sent = false;
    r.nak_due = 0;
    r.ack_due = false;  // the response acknowledges everything before it
    engine.activate(qp);
    return reply;
}

// C9-105: a repeated READ must lie within the original. `packets_in`: how far behind its start.
static bool within(const Qp& qp, const Reply& read, const Reth& reth, uint32_t packets_in) {
    const uint64_t skipped = static_cast<uint64_t>(packets_in) << qp.mtu_shift;
    if (reth.length == 0) return read.length == 0;
    return reth.rkey == read.rkey && reth.va == read.va + skipped && reth.length <= read.length - skipped;
}

// The responses behind the repeated one are sent again too, since a requester that goes back asks for them as
// well: one rewind serves all its duplicates.
void repeat_reply(Engine& engine, Qp& qp, const Packet& packet) {
    Responder& r = qp.responder;
    const auto kind = packet.info->has(kRead) ? Reply::Kind::read : Reply::Kind::atomic;
    const uint32_t kept = std::min<uint32_t>(r.reply_tail, kMaxReadDepth);
    for (uint32_t back = 1; back <= kept; back++) {
        const uint32_t index = r.reply_tail - back;
        const Reply& reply = r.reply_at(index);
        const uint32_t packets_in = psn_distance(reply.first_psn, packet.psn);
        if (packets_in >= reply.packets) continue;
        if (reply.kind != kind) break;
        if (kind == Reply::Kind::read &&
            !within(qp, reply, packet.extension<Reth>(packet.info->reth), packets_in))
            return refuse(engine, qp, Refusal::duplicate_read, packet.psn);
        // To be answered anyhow? Who asks from the middle has what comes before, however, and expects a FIRST
        // there.
        const int32_t to_come = static_cast<int32_t>(index - r.reply_head);
        if (packets_in == 0 && (to_come > 0 || (to_come == 0 && r.reply_cursor == 0))) return;
        go_on_from(r, index, packets_in);
        return engine.activate(qp);
    }
    engine.counters.drop(DropReason::psn_invalid);
}

static bool send_next_reply(Engine& engine, Qp& qp) {
    Responder& r = qp.responder;
    const Reply& reply = r.reply_at(r.reply_head);
    const bool sent = reply.kind == Reply::Kind::read ? send_read_packet(engine, qp, reply)
                                                      : send_atomic_reply(engine, qp, reply);
    if (!sent) return false;  // refused; or out of mbufs: go on in the next iteration
    r.reply_cursor++;
    if (r.reply_cursor == reply.packets) go_on_from(r, r.reply_head + 1, 0);
    return true;
}

uint32_t serve_replies(Engine& engine, Qp& qp, uint32_t budget) {
    uint32_t served = 0;
    qp.responder.parked = false;
    while (served < budget && qp.responder.replies_due() && tx_room(engine, qp) != 0) {
        if (!send_next_reply(engine, qp)) break;
        served++;
    }
    return served;
}

}  // namespace lagan::roce
