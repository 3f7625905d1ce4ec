// SPDX-License-Identifier: BSD-3-Clause
// The requester half of a QP: posted requests go out in order, in a window of PSNs; answers complete them in
// order; loss is mended by going back to the oldest PSN without an answer (go-back-N). All functions: the
// QP's owner lcore. lagan: hot-path
#pragma once

#include <ostream>

#include "datapath/engine.h"
#include "datapath/roce/decode.h"

namespace lagan::roce {

enum class WorkStatus : uint8_t {
    success,
    invalid_request,   // NAK 0x61
    remote_access,     // NAK 0x62
    remote_operation,  // NAK 0x63
    bad_response,      // an answer that breaks the protocol
    retry_exceeded,    // no answer
    rnr_retry_exceeded,
    flushed,  // not carried out, or its fate is unknown: the connection failed
};

const char* to_string(WorkStatus status);
inline std::ostream& operator<<(std::ostream& out, WorkStatus status) {
    return out << to_string(status);
}

// Who wants to know how requests ended. Called from within poll_once(), in the order of posting, after which
// the request's local buffer is the caller's again.
struct CompletionSink {
    virtual void complete(Qp& qp, uint64_t cookie, WorkStatus status) = 0;

  protected:
    ~CompletionSink() = default;
};

// Posting. False: the send queue is full, or the QP has failed. `local` must stay valid (and unchanged for
// writes) until completion; a send's message (<= kMaxMessageBytes) is copied. bytes <= 2^31.
bool post_read(Engine& engine, Qp& qp, uint64_t cookie, uint32_t rkey, uint64_t va, std::byte* local,
               uint32_t bytes);
bool post_write(Engine& engine, Qp& qp, uint64_t cookie, uint32_t rkey, uint64_t va, const std::byte* local,
                uint32_t bytes);
bool post_write_imm(Engine& engine, Qp& qp, uint64_t cookie, uint32_t rkey, uint64_t va,
                    const std::byte* local, uint32_t bytes, uint32_t immediate);
// Atomics on the eight bytes at `va` (a multiple of 8); what was there comes to `local`, in host byte order.
bool post_compare_swap(Engine& engine, Qp& qp, uint64_t cookie, uint32_t rkey, uint64_t va, std::byte* local,
                       uint64_t compare, uint64_t swap);
bool post_fetch_add(Engine& engine, Qp& qp, uint64_t cookie, uint32_t rkey, uint64_t va, std::byte* local,
                    uint64_t add);
bool post_send(Engine& engine, Qp& qp, uint64_t cookie, const std::byte* message, uint32_t bytes);

// ---- the engine's side ----

// Sends up to `budget` packets of what is posted; returns how many. requester_tx.cc
uint32_t send_requests(Engine& engine, Qp& qp, uint32_t budget);

// An answer of the peer. The ICRC has not been checked yet. requester_rx.cc
void take_response(Engine& engine, Qp& qp, const Packet& packet);

// Completes the oldest request. requester_rx.cc
void complete_oldest(Engine& engine, Qp& qp, WorkStatus status);

// The PSN that goes out next.
inline uint32_t next_to_send(Requester& q) {
    return q.has_work() ? psn_add(q.at(q.sending).first_psn, q.packet) : q.next_psn;
}
// Is there something to send that nothing but the port could hold up?
bool can_send(Qp& qp);

// ---- requester_retry.cc ----

// Timers of one QP. Returns whether it needs watching any longer.
bool check_timers(Engine& engine, Qp& qp);
void arm_timer(Engine& engine, Qp& qp);

// The oldest unanswered PSN becomes the next one sent.
void go_back(Engine& engine, Qp& qp);
// The same, as one of the limited number of retries.
void retry(Engine& engine, Qp& qp);

// The oldest request ends with `status`, the others are flushed; the QP is in the error state after that.
void fail_requests(Engine& engine, Qp& qp, WorkStatus status);

}  // namespace lagan::roce
