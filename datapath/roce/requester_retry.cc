// SPDX-License-Identifier: BSD-3-Clause
// Timers, going back, and giving up.
// lagan: hot-path
#include <algorithm>

#include "datapath/roce/requester.h"
#include "datapath/roce/responder.h"

namespace lagan::roce {

// A timer may run up to 4 times its nominal length (IBA 9.7.6.1.3). Each try without an answer doubles it
// that far: the first loss is mended soon, and a peer that does not get the processor for a second or two is
// not given up.
inline constexpr uint32_t kMaxBackoffShift = 2;

const char* to_string(WorkStatus status) {
    switch (status) {
        case WorkStatus::success:
            return "success";
        case WorkStatus::invalid_request:
            return "refused as invalid (NAK 0x61)";
        case WorkStatus::remote_access:
            return "refused: R_Key, range or right (NAK 0x62)";
        case WorkStatus::remote_operation:
            return "the appliance could not carry it out (NAK 0x63)";
        case WorkStatus::bad_response:
            return "the answer breaks the protocol";
        case WorkStatus::retry_exceeded:
            return "no answer after all retries";
        case WorkStatus::rnr_retry_exceeded:
            return "the peer was not ready after all retries";
        case WorkStatus::flushed:
            return "not carried out: the connection had failed";
    }
    return "unknown";
}

void arm_timer(Engine& engine, Qp& qp) {
    Requester& q = qp.requester;
    if (q.timeout_tsc == 0) return;
    q.timer_armed = true;
    const uint32_t tries = qp.retry_count - q.retries_left;
    q.deadline_tsc = engine.now_tsc + (q.timeout_tsc << std::min(tries, kMaxBackoffShift));
    engine.watch_timer(qp);
}

// Finds the request that holds the oldest unanswered PSN: bounded by the send queue's depth.
void go_back(Engine& engine, Qp& qp) {
    Requester& q = qp.requester;
    engine.counters.retransmits++;
    q.sending = q.completed;
    q.resources_in_flight = 0;
    while (q.sending != q.posted) {
        const WorkRequest& work = q.at(q.sending);
        if (psn_distance(work.first_psn, q.unacked_psn) < work.packets) break;
        q.sending++;
    }
    q.packet = q.has_work() ? psn_distance(q.at(q.sending).first_psn, q.unacked_psn) : 0;
    q.since_ack_request = 0;
    engine.activate(qp);
}

void retry(Engine& engine, Qp& qp) {
    Requester& q = qp.requester;
    if (q.retries_left == 0) return fail_requests(engine, qp, WorkStatus::retry_exceeded);
    q.retries_left--;
    q.timer_armed = false;  // armed again by the first packet that goes out
    q.gap_seen = false;
    go_back(engine, qp);
}

bool check_timers(Engine& engine, Qp& qp) {
    Requester& q = qp.requester;
    if (q.rnr_until_tsc != 0 && engine.now_tsc >= q.rnr_until_tsc) {
        q.rnr_until_tsc = 0;
        engine.activate(qp);
    }
    if (q.timer_armed && engine.now_tsc >= q.deadline_tsc) {
        engine.counters.timeouts++;
        retry(engine, qp);
    }
    return q.timer_armed || q.rnr_until_tsc != 0;
}

void fail_requests(Engine& engine, Qp& qp, WorkStatus status) {
    Requester& q = qp.requester;
    qp.state = QpState::error;  // before completions are told: they may post again
    qp.responder.ack_due = false;
    q.timer_armed = false;
    q.rnr_until_tsc = 0;
    while (q.completed != q.posted) {
        complete_oldest(engine, qp, status);
        status = WorkStatus::flushed;
    }
    drop_page_builder(engine, qp);
    qp.failed.store(true, std::memory_order_release);
}

}  // namespace lagan::roce
