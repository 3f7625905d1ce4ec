// SPDX-License-Identifier: BSD-3-Clause
// lagan: hot-path
#include "datapath/capsule_server.h"

#include <algorithm>
#include <span>

#include "datapath/capsule.h"
#include "datapath/memory/region.h"
#include "datapath/roce/requester.h"

namespace lagan {

using capsule::Header;
using capsule::PageRange;
using capsule::Status;

namespace {

inline constexpr uint32_t kMaxReplyRanges =
    (kMaxMessageBytes - sizeof(capsule::DirtyRanges)) / sizeof(PageRange);
inline constexpr uint32_t kQueryWords = 4096;  // bitmap words that one DIRTY_QUERY looks at

using Message = MessageRing::Message;

const PageRange* ranges_of(const Message& message) {
    return reinterpret_cast<const PageRange*>(message.data + sizeof(Header));
}

// Looked up once a capsule: the control thread may take the entry away between two looks.
const memory::MemoryRegion* memory_of(Engine& engine, const Qp& qp) {
    const memory::MemoryRegion* memory = engine.shared.rkeys.find(qp.data_rkey);
    return memory != nullptr && memory->region_id == qp.region_id ? memory : nullptr;
}

// Room for a reply was checked before the capsule was begun: this cannot fail on a QP that is ready.
template <typename Reply>
void send_reply(Engine& engine, Qp& qp, const Message& request, Status status, Reply& reply, uint32_t bytes) {
    const auto& asked = *reinterpret_cast<const Header*>(request.data);
    auto& header = reinterpret_cast<Header&>(reply);
    header = {.version = capsule::kVersion,
              .opcode = static_cast<uint8_t>(asked.opcode | capsule::kReply),
              .status = static_cast<uint16_t>(status),
              .tag = asked.tag,
              .count = header.count,
              .reserved = 0};
    roce::post_send(engine, qp, 0, reinterpret_cast<const std::byte*>(&reply), bytes);
    engine.counters.capsules++;
    if (status != Status::ok) engine.counters.capsule_errors++;
}

void send_error(Engine& engine, Qp& qp, const Message& request, Status status) {
    Header reply{};
    send_reply(engine, qp, request, status, reply, sizeof reply);
}

Status check_free(const Qp& qp, const memory::Region& region, const Message& message) {
    const auto& header = *reinterpret_cast<const Header*>(message.data);
    if (message.bytes != sizeof(Header) + static_cast<uint64_t>(header.count) * sizeof(PageRange))
        return Status::bad_length;
    if ((qp.access & memory::kAccessWrite) == 0) return Status::not_allowed;
    for (uint32_t i = 0; i < header.count; i++) {
        const PageRange& range = ranges_of(message)[i];
        if (static_cast<uint64_t>(range.first_page) + range.page_count > region.page_count)
            return Status::bad_range;
    }
    return Status::ok;
}

// Frees up to `budget` pages; true when the capsule is done. All ranges are checked before the first page
// goes.
bool free_some(Engine& engine, Qp& qp, memory::Region& region, const Message& message, uint32_t& budget) {
    Responder& r = qp.responder;
    const uint32_t count = reinterpret_cast<const Header*>(message.data)->count;
    memory::RetireQueue& retire = *engine.retire();
    while (r.capsule_range < count) {
        const PageRange& range = ranges_of(message)[r.capsule_range];
        const uint64_t first = range.first_page;
        while (r.capsule_page < range.page_count) {
            // Half of the room is left for WRITEs, which are dropped without any.
            if (budget == 0 || retire.room() <= retire.pending()) return false;
            budget--;
            if (memory::clear_page(region, retire, *engine.shared.budget, first + r.capsule_page))
                r.capsule_freed++;
            r.capsule_page++;
        }
        r.capsule_range++;
        r.capsule_page = 0;
    }
    return true;
}

bool serve_free(Engine& engine, Qp& qp, memory::Region& region, const Message& message, uint32_t& budget) {
    Responder& r = qp.responder;
    if (r.capsule_range == 0 && r.capsule_page == 0) {
        const Status status = check_free(qp, region, message);
        if (status != Status::ok) {
            send_error(engine, qp, message, status);
            return true;
        }
    }
    if (!free_some(engine, qp, region, message, budget)) return false;
    capsule::FreeReply reply{};
    reply.header.count = r.capsule_range;
    reply.freed_pages = r.capsule_freed;
    engine.counters.pages_freed += r.capsule_freed;
    r.capsule_range = r.capsule_page = 0;
    r.capsule_freed = 0;
    send_reply(engine, qp, message, Status::ok, reply, sizeof reply);
    return true;
}

void send_dirty_counts(Engine& engine, Qp& qp, const memory::Region& region, const Message& message) {
    capsule::DirtyCounts reply{};
    reply.dirty_pages = region.dirty_pages();
    reply.present_pages = region.present.load(std::memory_order_relaxed);
    reply.page_count = region.page_count;
    reply.cut_number = region.dirty->cut_number();
    reply.durable_cut = region.dirty->durable_cut();
    reply.drain_pages = region.dirty->drain().count();
    send_reply(engine, qp, message, Status::ok, reply, sizeof reply);
}

void send_dirty_ranges(Engine& engine, Qp& qp, const memory::DirtyList& list, const Message& message,
                       uint64_t cursor) {
    struct {
        capsule::DirtyRanges head;
        PageRange ranges[kMaxReplyRanges];
    } reply{};
    memory::DirtyList::Range found[kMaxReplyRanges];
    const size_t count = list.ranges(cursor, found, kQueryWords);
    for (size_t i = 0; i < count; i++) {
        reply.ranges[i].first_page = static_cast<uint32_t>(found[i].first_page);
        reply.ranges[i].page_count = static_cast<uint32_t>(found[i].page_count);
    }
    reply.head.header.count = static_cast<uint32_t>(count);
    reply.head.next_cursor = cursor;
    send_reply(engine, qp, message, Status::ok, reply,
               static_cast<uint32_t>(sizeof reply.head + count * sizeof(PageRange)));
}

void serve_dirty_query(Engine& engine, Qp& qp, const memory::Region& region, const Message& message) {
    if (message.bytes != sizeof(Header) + sizeof(capsule::DirtyQuery))
        return send_error(engine, qp, message, Status::bad_length);
    const auto& query = *reinterpret_cast<const capsule::DirtyQuery*>(message.data + sizeof(Header));
    const uint64_t cursor = query.cursor;
    using Kind = capsule::DirtyQueryKind;
    const auto kind = static_cast<Kind>(query.kind);
    if (kind == Kind::counts) return send_dirty_counts(engine, qp, region, message);
    if (kind != Kind::active_ranges && kind != Kind::drain_ranges)
        return send_error(engine, qp, message, Status::bad_argument);
    if (cursor > region.page_count) return send_error(engine, qp, message, Status::bad_range);
    const memory::DirtyList& list =
        kind == Kind::drain_ranges ? region.dirty->drain() : region.dirty->active();
    send_dirty_ranges(engine, qp, list, message, cursor);
}

void serve_region_info(Engine& engine, Qp& qp, const memory::Region& region, const Message& message) {
    if (message.bytes != sizeof(Header)) return send_error(engine, qp, message, Status::bad_length);
    capsule::RegionInfo reply{};
    reply.region_id = region.id;
    reply.page_bytes = memory::kPageBytes;
    reply.data_rkey = region.data_rkey;
    reply.dirty_rkey = region.dirty_rkey;
    reply.size_bytes = region.size_bytes;
    reply.reserve_bytes = region.reserve_pages * memory::kPageBytes;
    reply.present_pages = region.present.load(std::memory_order_relaxed);
    reply.dirty_pages = region.dirty_pages();
    reply.epoch = region.epoch;
    reply.dirty_bytes = region.dirty->memory().size();
    send_reply(engine, qp, message, Status::ok, reply, sizeof reply);
}

// The first one that comes has the region stop; all are told whether that has settled.
void serve_fence(Engine& engine, Qp& qp, const memory::MemoryRegion& memory, const Message& message) {
    memory::Region& region = *memory.region;
    if (message.bytes != sizeof(Header) + sizeof(capsule::Fence))
        return send_error(engine, qp, message, Status::bad_length);
    if (qp.attributes.role != Role::recover) return send_error(engine, qp, message, Status::not_allowed);
    const uint64_t epoch = reinterpret_cast<const capsule::Fence*>(message.data + sizeof(Header))->epoch;
    if (epoch <= region.epoch) return send_error(engine, qp, message, Status::bad_argument);
    // Its lists do not name what it has not got yet itself: no source for anybody.
    if (region.pending.load(std::memory_order_acquire) != 0)
        return send_error(engine, qp, message, Status::bad_argument);
    // A rescue has nothing to write to, and nobody to have stop.
    if ((memory.access & memory::kAccessWrite) != 0) {
        region.dirty->note_fence(epoch);
        region.lease.fence(engine.shared.rcu);
    }
    capsule::FenceReply reply{};
    reply.settled = region.lease.has_settled(engine.shared.rcu) ? 1 : 0;
    send_reply(engine, qp, message, Status::ok, reply, sizeof reply);
}

// Executes the message; false: not done yet.
bool serve_one(Engine& engine, Qp& qp, Message& message, uint32_t& budget) {
    if (message.bytes < sizeof(Header)) {
        // Nothing to take a tag from: the reply carries what there was, and zeros.
        std::fill(message.data + message.bytes, message.data + sizeof(Header), std::byte{0});
        send_error(engine, qp, message, Status::bad_length);
        return true;
    }
    const auto& header = *reinterpret_cast<const Header*>(message.data);
    const memory::MemoryRegion* memory = memory_of(engine, qp);
    if (header.version != capsule::kVersion) {
        send_error(engine, qp, message, Status::bad_version);
    } else if (memory == nullptr) {
        send_error(engine, qp, message, Status::no_region);
    } else if (header.opcode == static_cast<uint8_t>(capsule::Opcode::free_pages)) {
        return serve_free(engine, qp, *memory->region, message, budget);
    } else if (header.opcode == static_cast<uint8_t>(capsule::Opcode::dirty_query)) {
        serve_dirty_query(engine, qp, *memory->region, message);
    } else if (header.opcode == static_cast<uint8_t>(capsule::Opcode::region_info)) {
        serve_region_info(engine, qp, *memory->region, message);
    } else if (header.opcode == static_cast<uint8_t>(capsule::Opcode::fence)) {
        serve_fence(engine, qp, *memory, message);
    } else {
        send_error(engine, qp, message, Status::bad_opcode);
    }
    return true;
}

}  // namespace

// A READ that came before the capsule sees what was there before it.
static bool reads_come_first(const Responder& r, const Message& message) {
    return r.replies_due() && static_cast<int32_t>(message.replies_before - r.reply_head) > 0;
}

bool capsules_can_go_on(Qp& qp) {
    Responder& r = qp.responder;
    if (r.received.empty() || qp.state != QpState::ready) return false;
    return !r.parked || !reads_come_first(r, r.received.at(r.received.head));
}

bool serve_capsules(Engine& engine, Qp& qp, uint32_t budget) {
    MessageRing& ring = qp.responder.received;
    bool progress = false;
    // A reply needs a slot and a place in the send queue. Without one the capsules wait, and then the client:
    // RNR NAK.
    while (!ring.empty() && budget != 0 && qp.state == QpState::ready && !qp.requester.to_send.full()) {
        if (reads_come_first(qp.responder, ring.at(ring.head))) return progress;
        const uint32_t before = budget;
        if (!serve_one(engine, qp, ring.at(ring.head), budget)) return progress || budget != before;
        ring.head++;
        progress = true;
    }
    return progress;
}

}  // namespace lagan
