// SPDX-License-Identifier: BSD-3-Clause
// The responder half of a QP: a chain of small checks, each of which ends in an execution, an
// acknowledgement, a NAK or a counted drop. The rules quoted (C9-xx) are those of the InfiniBand
// specification, volume 1. All functions: the QP's owner lcore, inside its RCU read-side section (between two
// quiescent states). lagan: hot-path
#pragma once

#include "datapath/engine.h"
#include "datapath/memory/region.h"
#include "datapath/roce/decode.h"

namespace lagan::roce {

// Executes, refuses or drops one request packet. The ICRC has not been checked yet.
void respond(Engine& engine, Qp& qp, const Packet& packet);

// Whether the QP's region may not be served now: nothing leaves for this QP, neither answers nor
// acknowledgements nor requests of our own. Looked at for each request and each turn.
inline bool is_frozen(const Engine& engine, const Qp& qp) {
    if (!qp.heeds_lease) return false;
    const memory::MemoryRegion* memory = engine.shared.rkeys.find(qp.data_rkey);
    // Flat memory has no region, and no lease.
    return memory != nullptr && memory->region != nullptr && memory->region->lease.is_over(engine.now_tsc);
}

// ---- steps of it ----

// The memory that [va, va + length) of `rkey` names, if this QP may use it so; else null and the reason.
const memory::MemoryRegion* find_memory(const Engine& engine, const Qp& qp, uint32_t rkey, uint64_t va,
                                        uint64_t length, uint8_t access, Refusal& refusal);

// NAK of a reason, then the error state: nothing of this QP is served any more.
void refuse(Engine& engine, Qp& qp, Refusal refusal, uint32_t psn);

// write.cc. write_fused() takes a packet that fills whole 1 KiB blocks of one page, checking its ICRC while
// it copies; false: not such a packet (or one to be refused), nothing has happened.
bool write_fused(Engine& engine, Qp& qp, const Packet& packet);
void write_checked(Engine& engine, Qp& qp, const Packet& packet);
void drop_page_builder(Engine& engine, Qp& qp);

// read.cc, atomic.cc
void accept_read(Engine& engine, Qp& qp, const Packet& packet);
void accept_atomic(Engine& engine, Qp& qp, const Packet& packet);
// The next response packet of a READ, the response of an atomic. False: not sent (out of mbufs, or refused).
bool send_read_packet(Engine& engine, Qp& qp, const Reply& read);
bool send_atomic_reply(Engine& engine, Qp& qp, const Reply& atomic);

// reply.cc
// Has this QP as many READs and atomics to be answered as were negotiated?
bool replies_full(const Qp& qp);
// The request at `psn` is taken: its reply is due, the expected PSN is behind it. The caller fills in the
// rest.
Reply& add_reply(Engine& engine, Qp& qp, Reply::Kind kind, uint32_t psn, uint32_t packets);
// A duplicate READ or atomic.
void repeat_reply(Engine& engine, Qp& qp, const Packet& packet);
// Sends up to `budget` response packets; returns how many.
uint32_t serve_replies(Engine& engine, Qp& qp, uint32_t budget);

// receive_message.cc
void receive_send(Engine& engine, Qp& qp, const Packet& packet);

// acknowledge.cc
void send_aeth(Engine& engine, Qp& qp, uint8_t syndrome, uint32_t psn);
// A NAK, or an RNR NAK: behind the READ responses that are still due (responses leave in PSN order).
void send_nak(Engine& engine, Qp& qp, uint8_t syndrome, uint32_t psn);
// RNR NAK: nothing has happened, the requester is to send this request again after the time that the code
// `timer` stands for.
void not_ready(Engine& engine, Qp& qp, uint8_t timer, uint32_t psn);
inline constexpr uint8_t kPendingTimer = 8;  // 0.16 ms: a page is being fetched from elsewhere
// Sends what is due once no READ response is; called when a QP's turn in the active list ends.
void flush_acknowledgement(Engine& engine, Qp& qp);

// A request has been executed, or part of one: the expected PSN goes on, an ACK is due if one was asked for.
inline void advance(Engine& engine, Qp& qp, const Packet& packet) {
    Responder& r = qp.responder;
    r.expected_psn = psn_add(r.expected_psn, 1);
    r.nak_sent = false;
    r.nak_due = 0;  // one that still waits behind READ responses is out of date
    if (packet.bth->ack_requested()) {
        r.ack_due = true;
        engine.activate(qp);
    }
}

}  // namespace lagan::roce
