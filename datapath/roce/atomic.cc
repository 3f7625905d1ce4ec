// SPDX-License-Identifier: BSD-3-Clause
// Compare-and-swap and fetch-and-add on eight bytes: executed once, in PSN order; the value found is kept for
// duplicates (reply.cc). On paged memory the page gets a fresh frame, as with any store. Values are in the
// appliance's byte order, which clients on little-endian hosts share.
// lagan: hot-path
#include <atomic>
#include <cstring>

#include "datapath/roce/page_builder.h"
#include "datapath/roce/responder.h"
#include "datapath/transmit.h"

namespace lagan::roce {

using memory::kPageBytes;
using memory::MemoryRegion;

namespace {

struct Operation {
    bool compare_swap;
    uint64_t swap_or_add;
    uint64_t compare;

    uint64_t apply(uint64_t value) const {
        if (compare_swap) return value == compare ? swap_or_add : value;
        return value + swap_or_add;
    }
};

uint64_t execute_flat(std::byte* at, const Operation& operation) {
    std::atomic_ref<uint64_t> value(*reinterpret_cast<uint64_t*>(at));
    uint64_t found = value.load(std::memory_order_relaxed);
    while (!value.compare_exchange_weak(found, operation.apply(found))) {
    }
    return found;
}

Refusal execute_paged(Engine& engine, Qp& qp, memory::Region& region, uint64_t va, const Operation& operation,
                      uint64_t& found) {
    const uint32_t offset = va % kPageBytes;
    if (!start_page(engine, qp, va / kPageBytes, offset)) return Refusal::no_frames;
    memory::Pte old = region.page_table[va / kPageBytes].load(std::memory_order_acquire);
    memory::PublishResult result;
    do {  // again when another lcore has stored this page in between, or it was found damaged
        if ((old & memory::kPtePoisoned) != 0) return Refusal::poisoned_page;
        found = 0;
        if (old != memory::kAbsent)
            std::memcpy(&found, engine.shared.frames->data(memory::pte_frame(old)) + offset, sizeof found);
        const uint64_t value = operation.apply(found);
        if (value == found) {  // nothing to store
            drop_page_builder(engine, qp);
            return Refusal::none;
        }
        replace_in_page(engine, qp, offset, &value, sizeof value);
        result = publish_over(engine, qp, region, old);
    } while (result == memory::PublishResult::changed);
    return result == memory::PublishResult::published ? Refusal::none : Refusal::no_frames;
}

}  // namespace

void accept_atomic(Engine& engine, Qp& qp, const Packet& packet) {
    const auto& eth = packet.extension<AtomicEth>(packet.info->atomic_eth);
    const uint64_t va = eth.va;
    if (replies_full(qp)) return refuse(engine, qp, Refusal::read_depth, packet.psn);
    Refusal refusal;
    const MemoryRegion* memory = find_memory(engine, qp, eth.rkey, va, sizeof(uint64_t),
                                             memory::kAccessRead | memory::kAccessWrite, refusal);
    if (memory == nullptr) return refuse(engine, qp, refusal, packet.psn);
    if (va % sizeof(uint64_t) != 0) return refuse(engine, qp, Refusal::misaligned_atomic, packet.psn);

    const Operation operation = {
        .compare_swap = packet.opcode == static_cast<uint8_t>(Opcode::rc_compare_swap),
        .swap_or_add = eth.swap_or_add,
        .compare = eth.compare};
    uint64_t found = 0;
    if (memory->kind == MemoryRegion::Kind::flat) {
        found = execute_flat(memory->base + va, operation);
    } else {
        // Other QPs' staged pages will retire a frame each when they are published.
        if (engine.retire()->room() < 1 + engine.staged_count)
            return engine.counters.drop(DropReason::retire_full);
        if (memory::want_if_pending(*memory->region, va / kPageBytes)) [[unlikely]]
            return not_ready(engine, qp, kPendingTimer, packet.psn);
        refusal = execute_paged(engine, qp, *memory->region, va, operation, found);
        if (refusal != Refusal::none) return refuse(engine, qp, refusal, packet.psn);
    }
    add_reply(engine, qp, Reply::Kind::atomic, packet.psn, 1).original = found;
    engine.counters.atomics++;
}

bool send_atomic_reply(Engine& engine, Qp& qp, const Reply& atomic) {
    constexpr uint32_t kExtension = sizeof(Aeth) + sizeof(AtomicAckEth);
    uint8_t* data;
    rte_mbuf* packet = take_linear(engine, qp, kExtension, data);
    if (packet == nullptr) return false;
    uint8_t* body = write_headers(qp,
                                  {.opcode = Opcode::rc_atomic_ack,
                                   .psn = atomic.first_psn,
                                   .extension_bytes = kExtension,
                                   .payload_bytes = 0},
                                  data);
    auto* aeth = reinterpret_cast<Aeth*>(body);
    aeth->syndrome = kAckNoCredits;
    aeth->msn = atomic.msn & kPsnMask;
    reinterpret_cast<AtomicAckEth*>(aeth + 1)->original = atomic.original;
    icrc_store(body + kExtension, header_icrc_state(qp, data, kExtension));
    finish_linear(packet, headers_bytes(qp) + kExtension + kIcrcBytes);
    queue_tx(engine, qp.port_slot, packet);
    return true;
}

}  // namespace lagan::roce
