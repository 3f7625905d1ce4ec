// SPDX-License-Identifier: BSD-3-Clause
// Posting requests: PSNs are given here, once, so that going back needs no bookkeeping.
// lagan: hot-path
#include <cstring>

#include "datapath/roce/requester.h"

namespace lagan::roce {

static bool post(Engine& engine, Qp& qp, const WorkRequest& request) {
    Requester& q = qp.requester;
    if (qp.state != QpState::ready || q.posted - q.completed == kSendQueueDepth) return false;
    WorkRequest& work = q.at(q.posted);
    work = request;
    work.first_psn = q.next_psn;
    work.packets = psn_count(request.length, qp.mtu_bytes);
    q.next_psn = psn_add(q.next_psn, work.packets);
    q.posted++;
    engine.counters.requests++;
    engine.activate(qp);
    return true;
}

bool post_read(Engine& engine, Qp& qp, uint64_t cookie, uint32_t rkey, uint64_t va, std::byte* local,
               uint32_t bytes) {
    return post(engine, qp,
                {.cookie = cookie,
                 .remote_va = va,
                 .local = local,
                 .length = bytes,
                 .rkey = rkey,
                 .kind = WorkKind::read});
}

bool post_write(Engine& engine, Qp& qp, uint64_t cookie, uint32_t rkey, uint64_t va, const std::byte* local,
                uint32_t bytes) {
    return post(engine, qp,
                {.cookie = cookie,
                 .remote_va = va,
                 .local = const_cast<std::byte*>(local),
                 .length = bytes,
                 .rkey = rkey,
                 .kind = WorkKind::write});
}

bool post_write_imm(Engine& engine, Qp& qp, uint64_t cookie, uint32_t rkey, uint64_t va,
                    const std::byte* local, uint32_t bytes, uint32_t immediate) {
    return post(engine, qp,
                {.cookie = cookie,
                 .remote_va = va,
                 .local = const_cast<std::byte*>(local),
                 .length = bytes,
                 .rkey = rkey,
                 .immediate = immediate,
                 .kind = WorkKind::write_imm});
}

static bool post_atomic(Engine& engine, Qp& qp, WorkRequest work, WorkKind kind) {
    work.length = sizeof(uint64_t);
    work.kind = kind;
    return post(engine, qp, work);
}

bool post_compare_swap(Engine& engine, Qp& qp, uint64_t cookie, uint32_t rkey, uint64_t va, std::byte* local,
                       uint64_t compare, uint64_t swap) {
    return post_atomic(engine, qp,
                       {.cookie = cookie,
                        .remote_va = va,
                        .local = local,
                        .rkey = rkey,
                        .swap_or_add = swap,
                        .compare = compare},
                       WorkKind::compare_swap);
}

bool post_fetch_add(Engine& engine, Qp& qp, uint64_t cookie, uint32_t rkey, uint64_t va, std::byte* local,
                    uint64_t add) {
    return post_atomic(engine, qp,
                       {.cookie = cookie, .remote_va = va, .local = local, .rkey = rkey, .swap_or_add = add},
                       WorkKind::fetch_add);
}

bool post_send(Engine& engine, Qp& qp, uint64_t cookie, const std::byte* message, uint32_t bytes) {
    MessageRing& ring = qp.requester.to_send;
    if (bytes > kMaxMessageBytes || ring.full()) return false;
    MessageRing::Message& slot = ring.at(ring.tail);
    if (bytes != 0) std::memcpy(slot.data, message, bytes);
    slot.bytes = bytes;
    if (!post(engine, qp, {.cookie = cookie, .local = slot.data, .length = bytes, .kind = WorkKind::send}))
        return false;
    ring.tail++;
    return true;
}

}  // namespace lagan::roce
