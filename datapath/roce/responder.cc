// SPDX-License-Identifier: BSD-3-Clause
// lagan: hot-path
#include "datapath/roce/responder.h"

#include "datapath/roce/icrc.h"
#include "datapath/roce/page_builder.h"
#include "datapath/roce/requester.h"

namespace lagan::roce {

using InMessage = Responder::InMessage;

static void drop(Engine& engine, DropReason reason) {
    engine.counters.drop(reason);
}

// C9-111..116: ahead of the expected PSN means that a packet was lost. One NAK, then silence until it comes.
static void sequence_error(Engine& engine, Qp& qp) {
    drop(engine, DropReason::psn_ahead);
    if (qp.responder.nak_sent) return;
    qp.responder.nak_sent = true;
    engine.counters.sequence_naks++;
    send_nak(engine, qp, static_cast<uint8_t>(Nak::psn_sequence_error), qp.responder.expected_psn);
}

// C9-104..110: a duplicate SEND or WRITE is acknowledged again, never executed; a duplicate READ is executed
// again; a duplicate atomic gets the answer that it got.
static void duplicate(Engine& engine, Qp& qp, const Packet& packet) {
    engine.counters.duplicates++;
    if (packet.info->has(kRead) || packet.info->has(kAtomic)) return repeat_reply(engine, qp, packet);
    qp.responder.ack_due = true;
    engine.activate(qp);
}

// The NAK that ended this QP may have been lost: it is sent again for the same request.
static void in_error_state(Engine& engine, Qp& qp, const Packet& packet) {
    drop(engine, DropReason::qp_not_ready);
    const Responder& r = qp.responder;
    if (r.last_nak == 0 || r.replies_due() || packet.psn != r.nak_psn || !icrc_ok(packet)) return;
    send_aeth(engine, qp, r.last_nak, r.nak_psn);
}

// Table 45 of the specification: which packet may follow which.
static bool in_sequence(const Responder& r, const OpcodeInfo& info) {
    if (info.has(kFirst)) return r.in_message == InMessage::none;
    return r.in_message == (info.has(kSend) ? InMessage::send : InMessage::write);
}

static void execute(Engine& engine, Qp& qp, const Packet& packet) {
    const OpcodeInfo& info = *packet.info;
    if (!in_sequence(qp.responder, info)) return refuse(engine, qp, Refusal::opcode_sequence, packet.psn);
    if (info.has(kWrite)) return write_checked(engine, qp, packet);
    if (info.has(kRead)) return accept_read(engine, qp, packet);
    if (info.has(kAtomic)) return accept_atomic(engine, qp, packet);
    if (info.ieth != kNoHeader) return refuse(engine, qp, Refusal::invalidate, packet.psn);
    receive_send(engine, qp, packet);
}

void respond(Engine& engine, Qp& qp, const Packet& packet) {
    if (is_frozen(engine, qp)) [[unlikely]]
        return drop(engine, DropReason::frozen);
    if (qp.state == QpState::error) [[unlikely]]
        return in_error_state(engine, qp, packet);
    const int32_t order = psn_compare(packet.psn, qp.responder.expected_psn);
    if (order == 0 && packet.info->has(kWrite) && write_fused(engine, qp, packet)) return;
    if (qp.responder.has_staged_pages) {  // everything else may see or acknowledge them
        publish_staged_pages(engine);
        if (qp.state == QpState::error) [[unlikely]]
            return in_error_state(engine, qp, packet);
    }
    if (!icrc_ok(packet)) return drop(engine, DropReason::icrc);
    if (!qp.has_received.load(std::memory_order_relaxed))
        qp.has_received.store(true, std::memory_order_relaxed);
    if (order == 0) return execute(engine, qp, packet);
    if (order > 0) return sequence_error(engine, qp);
    duplicate(engine, qp, packet);
}

const memory::MemoryRegion* find_memory(const Engine& engine, const Qp& qp, uint32_t rkey, uint64_t va,
                                        uint64_t length, uint8_t access, Refusal& refusal) {
    const memory::MemoryRegion* memory = engine.shared.rkeys.find(rkey);
    if (memory == nullptr) {
        refusal = Refusal::unknown_rkey;
    } else if (memory->region_id != qp.region_id) {
        refusal = Refusal::other_region;
    } else if (!memory::in_range(*memory, va, length)) {
        refusal = Refusal::out_of_range;
    } else if ((memory->access & qp.access & access) != access) {
        refusal = Refusal::access_right;
    } else {
        refusal = Refusal::none;
        return memory;
    }
    return nullptr;
}

void refuse(Engine& engine, Qp& qp, Refusal refusal, uint32_t psn) {
    engine.counters.refuse(refusal);
    fail_requests(engine, qp, WorkStatus::flushed);
    qp.responder.last_nak = static_cast<uint8_t>(nak_of(refusal));
    qp.responder.nak_psn = psn;
    send_nak(engine, qp, qp.responder.last_nak, psn);
}

}  // namespace lagan::roce
