// SPDX-License-Identifier: BSD-3-Clause
// Answers: acknowledgements complete what they cover, READ responses fill the destination in PSN order.
// lagan: hot-path
#include <cstring>

#include "datapath/puller.h"
#include "datapath/roce/aeth.h"
#include "datapath/roce/icrc.h"
#include "datapath/roce/requester.h"
#include "datapath/roce/responder.h"

namespace lagan::roce {

// Something new was answered: retry counters start again, and so does the timer.
static void progress(Engine& engine, Qp& qp) {
    Requester& q = qp.requester;
    q.retries_left = qp.retry_count;
    q.rnr_retries_left = qp.rnr_retry;
    q.gap_seen = false;
    if (psn_compare(next_to_send(q), q.unacked_psn) < 0)
        go_back(engine, qp);  // a late answer to what we had gone back for
    if (q.in_flight()) {
        arm_timer(engine, qp);
    } else {
        q.timer_armed = false;
    }
    if (q.has_work()) engine.activate(qp);
}

// Everything before `psn` is known to have been executed. A READ or atomic is complete only by its responses:
// an acknowledgement that passes one means that they were lost. Returns false in that case.
static bool acknowledge_before(Engine& engine, Qp& qp, uint32_t psn) {
    Requester& q = qp.requester;
    while (q.completed != q.posted) {
        const WorkRequest& work = q.at(q.completed);
        const uint32_t behind = psn_add(work.first_psn, work.packets);
        if (work.is_answered()) {
            if (psn_compare(psn, work.first_psn) <= 0) break;
            return false;
        }
        if (psn_compare(behind, psn) > 0) {
            if (psn_compare(psn, q.unacked_psn) > 0) q.unacked_psn = psn;  // part of a long message
            break;
        }
        q.unacked_psn = behind;
        complete_oldest(engine, qp, WorkStatus::success);
    }
    return true;
}

void complete_oldest(Engine& engine, Qp& qp, WorkStatus status) {
    Requester& q = qp.requester;
    const WorkRequest& work = q.at(q.completed);
    if (work.kind == WorkKind::send) q.to_send.head++;
    if (work.is_answered() && q.sending != q.completed) q.resources_in_flight--;
    if (q.sending == q.completed) {  // answered although we had gone back to it
        q.sending++;
        q.packet = 0;
    }
    q.completed++;
    if (qp.puller != nullptr) return qp.puller->complete(work.cookie, status);
    if (engine.completions != nullptr) engine.completions->complete(qp, work.cookie, status);
}

// Once per loss: the answers to what is already on its way back show the same gap.
static void gap(Engine& engine, Qp& qp) {
    if (qp.requester.gap_seen) return;
    qp.requester.gap_seen = true;
    go_back(engine, qp);
}

static WorkStatus status_of(uint8_t syndrome) {
    switch (static_cast<Nak>(syndrome)) {
        case Nak::invalid_request:
            return WorkStatus::invalid_request;
        case Nak::remote_access_error:
            return WorkStatus::remote_access;
        case Nak::remote_operational_error:
            return WorkStatus::remote_operation;
        default:
            return WorkStatus::bad_response;
    }
}

static void take_rnr_nak(Engine& engine, Qp& qp, uint8_t syndrome) {
    Requester& q = qp.requester;
    if (qp.rnr_retry != 7 && q.rnr_retries_left == 0)
        return fail_requests(engine, qp, WorkStatus::rnr_retry_exceeded);
    if (qp.rnr_retry != 7) q.rnr_retries_left--;
    const uint64_t wait_us = rnr_wait_us(syndrome & 0x1f);
    q.rnr_until_tsc = engine.now_tsc + wait_us * engine.tsc_per_us;
    q.timer_armed = false;  // the acknowledgement timer must not cut the wait short
    go_back(engine, qp);
    engine.watch_timer(qp);
}

static void take_acknowledgement(Engine& engine, Qp& qp, const Packet& packet) {
    Requester& q = qp.requester;
    const uint8_t syndrome = packet.extension<Aeth>(packet.info->aeth).syndrome;
    // C9-139: of nothing that is in flight. A NAK names the PSN that it refuses, an ACK the last one it
    // accepts.
    if (psn_compare(packet.psn, q.unacked_psn) < 0)
        return engine.counters.drop(DropReason::response_duplicate);
    if (psn_compare(packet.psn, q.sent_psn) >= 0)
        return engine.counters.drop(DropReason::response_unexpected);

    const uint32_t before = q.unacked_psn;
    const bool complete =
        acknowledge_before(engine, qp, is_ack(syndrome) ? psn_add(packet.psn, 1) : packet.psn);
    if (q.unacked_psn != before) progress(engine, qp);
    // A NAK of a READ carries the PSN of the response that could not be given.
    const bool names_oldest = !is_ack(syndrome) && packet.psn == q.unacked_psn;
    if (!complete && !names_oldest) return gap(engine, qp);
    if (is_ack(syndrome)) return;
    if (is_rnr_nak(syndrome)) return take_rnr_nak(engine, qp, syndrome);
    if (syndrome == static_cast<uint8_t>(Nak::psn_sequence_error)) return retry(engine, qp);
    fail_requests(engine, qp, status_of(syndrome));
}

// The bytes that answer the oldest request, from packet `index` of its responses on. False: not what it asked
// for.
static bool take_answer(const Qp& qp, const WorkRequest& work, const Packet& packet, uint32_t index) {
    if (work.is_atomic()) {
        const uint64_t original = packet.extension<AtomicAckEth>(packet.info->atomic_ack_eth).original;
        std::memcpy(work.local, &original, sizeof original);
        return true;
    }
    // FIRST, MIDDLE, LAST or ONLY is not looked at: a peer may replay from any packet. The length must fit.
    const uint32_t skipped = index << qp.mtu_shift;
    const uint32_t wanted = std::min<uint32_t>(work.length - skipped, qp.mtu_bytes);
    if (packet.payload_bytes != wanted) return false;
    if (wanted != 0)
        std::memcpy(work.local + skipped, packet.payload, wanted);  // of no bytes: `local` may be null
    return true;
}

// A READ response or an ATOMIC_ACK.
static void take_answer_packet(Engine& engine, Qp& qp, const Packet& packet) {
    Requester& q = qp.requester;
    if (psn_compare(packet.psn, q.unacked_psn) < 0)
        return engine.counters.drop(DropReason::response_duplicate);
    if (psn_compare(packet.psn, q.sent_psn) >= 0)
        return engine.counters.drop(DropReason::response_unexpected);
    // A response acknowledges all that came before its request.
    const uint32_t before = q.unacked_psn;
    if (!acknowledge_before(engine, qp, packet.psn)) {
        const WorkRequest& oldest = q.at(q.completed);
        if (psn_compare(packet.psn, psn_add(oldest.first_psn, oldest.packets)) >= 0 ||
            packet.psn != q.unacked_psn) {
            if (q.unacked_psn != before) progress(engine, qp);
            return gap(engine, qp);
        }
    }
    const WorkRequest& work = q.at(q.completed);
    const bool expected = q.completed != q.posted && work.is_answered() && packet.psn == q.unacked_psn &&
                          packet.info->has(kAtomic) == work.is_atomic();
    if (!expected) return engine.counters.drop(DropReason::response_unexpected);

    const uint32_t index = psn_distance(work.first_psn, packet.psn);
    if (!take_answer(qp, work, packet, index)) return fail_requests(engine, qp, WorkStatus::bad_response);
    q.unacked_psn = psn_add(packet.psn, 1);
    if (index + 1 == work.packets) complete_oldest(engine, qp, WorkStatus::success);
    progress(engine, qp);
}

void take_response(Engine& engine, Qp& qp, const Packet& packet) {
    if (qp.state == QpState::error) [[unlikely]]
        return engine.counters.drop(DropReason::qp_not_ready);
    if (!icrc_ok(packet)) return engine.counters.drop(DropReason::icrc);
    if (!qp.has_received.load(std::memory_order_relaxed))
        qp.has_received.store(true, std::memory_order_relaxed);
    if (packet.info->has(kAck)) return take_acknowledgement(engine, qp, packet);
    take_answer_packet(engine, qp, packet);
}

}  // namespace lagan::roce
