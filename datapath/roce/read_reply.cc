// SPDX-License-Identifier: BSD-3-Clause
// lagan: hot-path
#include "datapath/roce/read_reply.h"

#include <cstring>

#include "datapath/frame_check.h"
#include "datapath/memory/region.h"
#include "datapath/roce/aeth.h"
#include "datapath/roce/crc32.h"
#include "datapath/transmit.h"

namespace lagan::roce {

using memory::kBlockBytes;
using memory::kPageBytes;

namespace {

// The part of one page that a response carries. A response of at most 4096 bytes reaches into two pages.
struct Piece {
    memory::FrameIndex frame;  // kNoFrame: zeros
    uint32_t offset;
    uint32_t bytes;
};

// The CRC of a piece: stored ones for whole blocks, bytes are read only at ragged edges.
uint32_t piece_crc(Engine& engine, const Piece& piece, uint32_t state) {
    if (piece.frame == memory::kNoFrame) return crc32_shift(state, piece.bytes);
    const memory::FrameMeta& meta = engine.shared.frames->meta(piece.frame);
    if (piece.bytes == kPageBytes) return crc32_shift(state, kPageBytes) ^ meta.page_crc;
    const std::byte* data = engine.shared.frames->data(piece.frame);
    uint32_t at = piece.offset;
    const uint32_t end = piece.offset + piece.bytes;
    while (at != end) {
        const uint32_t bytes = std::min(kBlockBytes - at % kBlockBytes, end - at);
        state = bytes == kBlockBytes ? crc32_shift(state, kBlockBytes) ^ meta.block_crc[at / kBlockBytes]
                                     : crc32_raw(state, data + at, bytes);
        at += bytes;
    }
    return state;
}

const std::byte* piece_data(Engine& engine, const Piece& piece) {
    if (piece.frame == memory::kNoFrame) return engine.zero_page;
    return engine.shared.frames->data(piece.frame) + piece.offset;
}

// The page's entry, once its frame was compared with its CRCs; a damaged one is poisoned. Again only when the
// page is stored at this moment.
memory::Pte verified_entry(Engine& engine, const memory::Region& region, uint64_t page) {
    for (;;) {
        const memory::Pte pte = region.page_table[page].load(std::memory_order_acquire);
        const memory::FrameIndex frame = memory::pte_frame(pte);
        if (pte != memory::make_pte(frame) || frame_is_intact(*engine.shared.frames, frame)) return pte;
        if (memory::poison_page(region, page, frame)) engine.note_damaged(region, page);
    }
}

// `flags`: of all entries.
uint32_t find_pieces(Engine& engine, const memory::Region& region, const ReadReply& reply, Piece pieces[2],
                     memory::Pte& flags) {
    uint64_t va = reply.va;
    uint32_t left = reply.bytes;
    uint32_t count = 0;
    while (left != 0) {
        const uint64_t page = va / kPageBytes;
        const memory::Pte pte = reply.again ? verified_entry(engine, region, page)
                                            : region.page_table[page].load(std::memory_order_acquire);
        flags |= pte;
        const uint32_t offset = va % kPageBytes;
        const uint32_t bytes = std::min(left, kPageBytes - offset);
        static_assert(memory::pte_frame(memory::kAbsent) == memory::kNoFrame);
        pieces[count++] = {memory::pte_frame(pte), offset, bytes};
        va += bytes;
        left -= bytes;
    }
    return count;
}

// Headers and AETH (MIDDLE has none) at `to`; returns their bytes and the ICRC state behind them.
uint32_t write_reply_headers(const Qp& qp, const ReadReply& reply, uint8_t* to, uint32_t& state) {
    const bool has_aeth = reply.opcode != Opcode::rc_read_response_middle;
    const uint32_t extension = has_aeth ? sizeof(Aeth) : 0;
    uint8_t* body = write_headers(qp,
                                  {.opcode = reply.opcode,
                                   .psn = reply.psn,
                                   .extension_bytes = extension,
                                   .payload_bytes = reply.bytes},
                                  to);
    if (has_aeth) {
        auto* aeth = reinterpret_cast<Aeth*>(body);
        aeth->syndrome = kAckNoCredits;
        aeth->msn = reply.msn & kPsnMask;
    }
    state = header_icrc_state(qp, to, extension);
    return headers_bytes(qp) + extension;
}

// Payload copied behind the headers: small responses, flat memory, and ports that take no chained mbufs.
bool send_copied(Engine& engine, Qp& qp, const ReadReply& reply, const Piece* pieces, uint32_t count) {
    uint8_t* data;
    rte_mbuf* packet = take_linear(engine, qp, sizeof(Aeth) + reply.bytes, data);
    if (packet == nullptr) return false;
    uint32_t state;
    uint32_t at = write_reply_headers(qp, reply, data, state);
    for (uint32_t i = 0; i < count; i++) {
        std::memcpy(data + at, piece_data(engine, pieces[i]), pieces[i].bytes);
        state = piece_crc(engine, pieces[i], state);
        at += pieces[i].bytes;
    }
    at += write_trailer(data + at, reply.bytes, state);
    finish_linear(packet, at);
    queue_tx(engine, qp.port_slot, packet);
    return true;
}

bool send_flat(Engine& engine, Qp& qp, const ReadReply& reply, const std::byte* from) {
    uint8_t* data;
    rte_mbuf* packet = take_linear(engine, qp, sizeof(Aeth) + reply.bytes, data);
    if (packet == nullptr) return false;
    uint32_t state;
    uint32_t at = write_reply_headers(qp, reply, data, state);
    std::memcpy(data + at, from, reply.bytes);  // flat memory changes in place: the CRC is that of the copy
    state = crc32_raw(state, data + at, reply.bytes);
    at += reply.bytes;
    at += write_trailer(data + at, reply.bytes, state);
    finish_linear(packet, at);
    queue_tx(engine, qp.port_slot, packet);
    return true;
}

// An external buffer on the frame (or the page of zeros). Direct stores: the pool's mbufs have no data room
// and come back detached, so that only these fields need a value.
void attach_piece(Engine& engine, rte_mbuf* segment, const Piece& piece) {
    rte_mbuf_ext_shared_info* shinfo = engine.zero_shinfo;
    if (piece.frame == memory::kNoFrame) {
        rte_mbuf_ext_refcnt_update(shinfo, 1);
    } else {
        engine.shared.frames->reference(piece.frame);
        shinfo = &engine.shared.frames->meta(piece.frame).shinfo;
    }
    segment->buf_addr = const_cast<std::byte*>(piece_data(engine, piece));
    rte_mbuf_iova_set(segment, reinterpret_cast<uintptr_t>(segment->buf_addr));  // --iova-mode=va
    segment->buf_len = static_cast<uint16_t>(piece.bytes);
    segment->shinfo = shinfo;
    segment->data_off = 0;
    segment->data_len = static_cast<uint16_t>(piece.bytes);
    segment->ol_flags = RTE_MBUF_F_EXTERNAL;
}

void return_unused(MbufStash& stash, rte_mbuf* mbuf) {
    if (mbuf != nullptr) rte_mempool_put(stash.pool(), mbuf);
}

bool send_zero_copy(Engine& engine, Qp& qp, const ReadReply& reply, const Piece* pieces, uint32_t count) {
    rte_mbuf* head = engine.headers.take();
    rte_mbuf* tail = engine.tails.take();
    rte_mbuf* segments[2] = {engine.segments.take(), count == 2 ? engine.segments.take() : nullptr};
    if (head == nullptr || tail == nullptr || segments[0] == nullptr ||
        (count == 2 && segments[1] == nullptr)) [[unlikely]] {
        return_unused(engine.headers, head);
        return_unused(engine.tails, tail);
        for (rte_mbuf* segment : segments)
            return_unused(engine.segments, segment);
        engine.counters.drop(DropReason::no_mbuf);
        return false;
    }
    head->data_off = RTE_PKTMBUF_HEADROOM;
    uint32_t state;
    const uint32_t header_bytes = write_reply_headers(qp, reply, rte_pktmbuf_mtod(head, uint8_t*), state);
    rte_mbuf* last = head;
    for (uint32_t i = 0; i < count; i++) {
        attach_piece(engine, segments[i], pieces[i]);
        state = piece_crc(engine, pieces[i], state);
        last->next = segments[i];
        last = segments[i];
    }
    tail->data_off = 0;
    tail->ol_flags = 0;
    const uint32_t tail_bytes = write_trailer(rte_pktmbuf_mtod(tail, uint8_t*), reply.bytes, state);
    tail->data_len = static_cast<uint16_t>(tail_bytes);
    last->next = tail;

    head->ol_flags = 0;
    head->data_len = static_cast<uint16_t>(header_bytes);
    head->pkt_len = header_bytes + reply.bytes + tail_bytes;
    head->nb_segs = static_cast<uint16_t>(count + 2);
    queue_tx(engine, qp.port_slot, head);
    return true;
}

}  // namespace

ReadOutcome send_read_reply(Engine& engine, Qp& qp, const memory::MemoryRegion* memory,
                            const ReadReply& reply) {
    bool sent;
    if (memory != nullptr && memory->kind == memory::MemoryRegion::Kind::flat) {
        sent = send_flat(engine, qp, reply, memory->base + reply.va);
    } else {
        Piece pieces[2];
        memory::Pte flags = 0;
        const uint32_t count =
            memory == nullptr ? 0 : find_pieces(engine, *memory->region, reply, pieces, flags);
        if ((flags & (memory::kPtePoisoned | memory::kPtePending)) != 0) [[unlikely]]
            return (flags & memory::kPtePoisoned) != 0 ? ReadOutcome::poisoned : ReadOutcome::pending;
        const bool copy = reply.bytes <= kInlineBytes || engine.ports[qp.port_slot].linear;
        sent = copy ? send_copied(engine, qp, reply, pieces, count)
                    : send_zero_copy(engine, qp, reply, pieces, count);
    }
    if (!sent) return ReadOutcome::no_mbufs;
    engine.counters.read_bytes += reply.bytes;
    return ReadOutcome::sent;
}

}  // namespace lagan::roce
