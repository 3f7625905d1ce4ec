// SPDX-License-Identifier: BSD-3-Clause
// ACKs and NAKs.
// lagan: hot-path
#include "datapath/roce/responder.h"
#include "datapath/transmit.h"

namespace lagan::roce {

void send_aeth(Engine& engine, Qp& qp, uint8_t syndrome, uint32_t psn) {
    uint8_t* data;
    rte_mbuf* packet = take_linear(engine, qp, sizeof(Aeth), data);
    if (packet == nullptr) return;  // counted; the requester asks again
    uint8_t* body = write_headers(
        qp, {.opcode = Opcode::rc_ack, .psn = psn, .extension_bytes = sizeof(Aeth), .payload_bytes = 0},
        data);
    auto* aeth = reinterpret_cast<Aeth*>(body);
    aeth->syndrome = syndrome;
    aeth->msn = qp.responder.msn & kPsnMask;
    icrc_store(body + sizeof(Aeth), header_icrc_state(qp, data, sizeof(Aeth)));
    finish_linear(packet, headers_bytes(qp) + sizeof(Aeth) + kIcrcBytes);
    queue_tx(engine, qp.port_slot, packet);
}

void send_nak(Engine& engine, Qp& qp, uint8_t syndrome, uint32_t psn) {
    Responder& r = qp.responder;
    r.ack_due = false;  // a NAK acknowledges everything before its PSN
    r.nak_due = 0;  // of two the later one holds: an error in a READ comes before what was refused behind it
    if (!r.replies_due() && tx_room(engine, qp) != 0) return send_aeth(engine, qp, syndrome, psn);
    r.nak_due = syndrome;
    r.nak_psn = psn;
    engine.activate(qp);
}

void not_ready(Engine& engine, Qp& qp, uint8_t timer, uint32_t psn) {
    engine.counters.rnr_naks++;
    // What follows this request is ahead of sequence: no NAK 0x60 may cut the wait short.
    qp.responder.nak_sent = true;
    send_nak(engine, qp, static_cast<uint8_t>(kRnrNak | timer), psn);
}

void flush_acknowledgement(Engine& engine, Qp& qp) {
    Responder& r = qp.responder;
    if (r.replies_due() || tx_room(engine, qp) == 0) return;
    if (r.nak_due != 0) {
        send_aeth(engine, qp, r.nak_due, r.nak_psn);
        r.nak_due = 0;
    } else if (r.ack_due) {
        engine.counters.acks++;
        send_aeth(engine, qp, kAckNoCredits, psn_add(r.expected_psn, kPsnMask));
    }
    r.ack_due = false;
}

}  // namespace lagan::roce
