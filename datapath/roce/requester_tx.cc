// SPDX-License-Identifier: BSD-3-Clause
// Sending requests: one packet of the request at the cursor at a time, as far as the window goes.
// lagan: hot-path
#include <cstring>

#include "datapath/roce/requester.h"
#include "datapath/transmit.h"

namespace lagan::roce {

inline constexpr uint32_t kAckEvery = 32;  // packets of a long message between requests for an ACK

// Opcode by kind and place in the message.
static Opcode opcode_of(const WorkRequest& work, bool first, bool last) {
    switch (work.kind) {
        case WorkKind::read:
            return Opcode::rc_read_request;
        case WorkKind::send:
            if (first) return last ? Opcode::rc_send_only : Opcode::rc_send_first;
            return last ? Opcode::rc_send_last : Opcode::rc_send_middle;
        case WorkKind::write_imm:
            if (last) return first ? Opcode::rc_write_only_imm : Opcode::rc_write_last_imm;
            [[fallthrough]];
        case WorkKind::write:
            if (first) return last ? Opcode::rc_write_only : Opcode::rc_write_first;
            return last ? Opcode::rc_write_last : Opcode::rc_write_middle;
        case WorkKind::compare_swap:
            return Opcode::rc_compare_swap;
        case WorkKind::fetch_add:
            return Opcode::rc_fetch_add;
    }
    __builtin_unreachable();
}

static void write_reth(uint8_t* to, uint64_t va, uint32_t rkey, uint32_t length) {
    auto* reth = reinterpret_cast<Reth*>(to);
    reth->va = va;
    reth->rkey = rkey;
    reth->length = length;
}

// A READ request from packet `index` of its responses on (not 0 when it is repeated half-way).
static bool send_read(Engine& engine, Qp& qp, const WorkRequest& work, uint32_t index) {
    uint8_t* data;
    rte_mbuf* packet = take_linear(engine, qp, sizeof(Reth), data);
    if (packet == nullptr) return false;
    const uint32_t skipped = index << qp.mtu_shift;
    uint8_t* body = write_headers(qp,
                                  {.opcode = Opcode::rc_read_request,
                                   .psn = psn_add(work.first_psn, index),
                                   .extension_bytes = sizeof(Reth),
                                   .payload_bytes = 0,
                                   .ack_request = true},
                                  data);
    write_reth(body, work.remote_va + skipped, work.rkey, work.length - skipped);
    icrc_store(body + sizeof(Reth), header_icrc_state(qp, data, sizeof(Reth)));
    finish_linear(packet, headers_bytes(qp) + sizeof(Reth) + kIcrcBytes);
    queue_tx(engine, qp.port_slot, packet);
    return true;
}

static bool send_atomic(Engine& engine, Qp& qp, const WorkRequest& work) {
    uint8_t* data;
    rte_mbuf* packet = take_linear(engine, qp, sizeof(AtomicEth), data);
    if (packet == nullptr) return false;
    uint8_t* body = write_headers(qp,
                                  {.opcode = opcode_of(work, true, true),
                                   .psn = work.first_psn,
                                   .extension_bytes = sizeof(AtomicEth),
                                   .payload_bytes = 0,
                                   .ack_request = true},
                                  data);
    auto* eth = reinterpret_cast<AtomicEth*>(body);
    eth->va = work.remote_va;
    eth->rkey = work.rkey;
    eth->swap_or_add = work.swap_or_add;
    eth->compare = work.compare;
    icrc_store(body + sizeof(AtomicEth), header_icrc_state(qp, data, sizeof(AtomicEth)));
    finish_linear(packet, headers_bytes(qp) + sizeof(AtomicEth) + kIcrcBytes);
    queue_tx(engine, qp.port_slot, packet);
    return true;
}

static bool send_data(Engine& engine, Qp& qp, const WorkRequest& work, uint32_t index, bool ack_request) {
    const bool first = index == 0;
    const bool last = index + 1 == work.packets;
    const Opcode opcode = opcode_of(work, first, last);
    const OpcodeInfo& info = kOpcodes[static_cast<uint8_t>(opcode)];
    const uint32_t skipped = index << qp.mtu_shift;
    const uint32_t payload = std::min<uint32_t>(work.length - skipped, qp.mtu_bytes);
    uint8_t* data;
    rte_mbuf* packet = take_linear(engine, qp, info.extension_bytes + payload, data);
    if (packet == nullptr) return false;
    uint8_t* body = write_headers(qp,
                                  {.opcode = opcode,
                                   .psn = psn_add(work.first_psn, index),
                                   .extension_bytes = info.extension_bytes,
                                   .payload_bytes = payload,
                                   .ack_request = ack_request,
                                   .solicited = info.has(kSend | kLast)},
                                  data);
    if (info.reth != kNoHeader) write_reth(body + info.reth, work.remote_va, work.rkey, work.length);
    if (info.immdt != kNoHeader) reinterpret_cast<ImmDt*>(body + info.immdt)->data = work.immediate;
    uint32_t state = header_icrc_state(qp, data, info.extension_bytes);
    uint8_t* to = body + info.extension_bytes;
    if (payload != 0) std::memcpy(to, work.local + skipped, payload);  // of no bytes: `local` may be null
    state = crc32_raw(state, to, payload);
    const uint32_t trailer = write_trailer(to + payload, payload, state);
    finish_linear(packet, headers_bytes(qp) + info.extension_bytes + payload + trailer);
    queue_tx(engine, qp.port_slot, packet);
    return true;
}

// May `packets` more PSNs go out? One request always may when nothing is in flight: a READ can be longer than
// the window.
static bool window_open(const Requester& q, uint32_t psn, uint32_t packets) {
    const uint32_t in_flight = psn_distance(q.unacked_psn, psn);
    return in_flight == 0 || in_flight + packets <= q.window_packets;
}

bool can_send(Qp& qp) {
    Requester& q = qp.requester;
    if (!q.has_work() || q.rnr_until_tsc != 0) return false;
    const WorkRequest& work = q.at(q.sending);
    if (work.is_answered() && q.resources_in_flight >= qp.initiator_depth) return false;
    return window_open(q, next_to_send(q), work.kind == WorkKind::read ? work.packets - q.packet : 1);
}

static bool send_next(Engine& engine, Qp& qp) {
    Requester& q = qp.requester;
    const WorkRequest& work = q.at(q.sending);
    const uint32_t psn = psn_add(work.first_psn, q.packet);
    const uint32_t psns = work.kind == WorkKind::read ? work.packets - q.packet : 1;

    bool ends_request = true;
    if (work.is_answered()) {
        if (!(work.is_atomic() ? send_atomic(engine, qp, work) : send_read(engine, qp, work, q.packet)))
            return false;
        q.resources_in_flight++;
        q.since_ack_request = 0;
    } else {
        ends_request = q.packet + 1 == work.packets;
        const bool ack_request =
            ends_request || ++q.since_ack_request >= kAckEvery || !window_open(q, psn_add(psn, 1), 1);
        if (!send_data(engine, qp, work, q.packet, ack_request)) return false;
        if (ack_request) q.since_ack_request = 0;
    }
    q.packet++;
    if (ends_request) {
        q.sending++;
        q.packet = 0;
    }
    const uint32_t behind = psn_add(psn, psns);
    if (psn_compare(behind, q.sent_psn) > 0) q.sent_psn = behind;
    return true;
}

uint32_t send_requests(Engine& engine, Qp& qp, uint32_t budget) {
    uint32_t sent = 0;
    while (sent < budget && can_send(qp) && tx_room(engine, qp) != 0) {
        if (!send_next(engine, qp)) break;  // out of mbufs
        sent++;
    }
    if (sent != 0 && !qp.requester.timer_armed) arm_timer(engine, qp);
    return sent;
}

}  // namespace lagan::roce
