// SPDX-License-Identifier: BSD-3-Clause
// SEND: messages are put together in a small ring; without a free slot the requester is told to wait (RNR
// NAK). lagan: hot-path
#include <cstring>

#include "datapath/roce/responder.h"

namespace lagan::roce {

using InMessage = Responder::InMessage;

static Refusal check_length(const Qp& qp, const Packet& packet, uint32_t bytes_so_far) {
    const bool last = packet.info->has(kLast);
    if (!last && packet.payload_bytes != qp.mtu_bytes) return Refusal::packet_length;
    if (last && packet.payload_bytes > qp.mtu_bytes) return Refusal::packet_length;
    if (last && packet.payload_bytes == 0 && !packet.info->has(kFirst)) return Refusal::packet_length;
    if (bytes_so_far + packet.payload_bytes > kMaxMessageBytes) return Refusal::send_length;
    return Refusal::none;
}

void receive_send(Engine& engine, Qp& qp, const Packet& packet) {
    Responder& r = qp.responder;
    MessageRing& ring = r.received;
    if (packet.info->has(kFirst)) {
        if (ring.full()) return not_ready(engine, qp, qp.rnr_timer, packet.psn);
        ring.at(ring.tail).bytes = 0;
    }
    MessageRing::Message& message = ring.at(ring.tail);
    const Refusal refusal = check_length(qp, packet, message.bytes);
    if (refusal != Refusal::none) return refuse(engine, qp, refusal, packet.psn);

    std::memcpy(message.data + message.bytes, packet.payload, packet.payload_bytes);
    message.bytes += packet.payload_bytes;
    r.in_message = InMessage::send;
    if (packet.info->has(kLast)) {
        r.in_message = InMessage::none;
        r.msn++;
        message.replies_before = r.reply_tail;
        ring.tail++;
        engine.activate(qp);
    }
    advance(engine, qp, packet);
}

}  // namespace lagan::roce
