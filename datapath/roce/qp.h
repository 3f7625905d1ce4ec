// SPDX-License-Identifier: BSD-3-Clause
// A reliable-connected queue pair. Everything in it belongs to one lcore (its engine's) unless a field says
// otherwise.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "datapath/memory/page.h"
#include "datapath/qp_attributes.h"
#include "datapath/roce/headers.h"
#include "datapath/roce/psn.h"

namespace lagan {

class Puller;

inline constexpr uint32_t kMaxMessageBytes = 2048;  // longest SEND: a capsule
inline constexpr uint32_t kMessageSlots = 8;        // per direction
inline constexpr uint32_t kMaxReadDepth = 128;      // responder resources; Linux clients ask for up to 128
inline constexpr uint32_t kSendQueueDepth = 256;

enum class QpState : uint8_t { ready, error };

// SEND messages received (or to be sent), oldest first. A ring of fixed slots.
struct MessageRing {
    struct Message {
        uint32_t bytes;
        uint32_t replies_before;  // received: Responder::reply_tail when it came
        std::byte data[kMaxMessageBytes];
    };
    std::unique_ptr<std::array<Message, kMessageSlots>> slots;
    uint32_t head = 0;  // oldest
    uint32_t tail = 0;  // next free

    bool full() const { return tail - head == kMessageSlots; }
    bool empty() const { return tail == head; }
    Message& at(uint32_t index) { return (*slots)[index % kMessageSlots]; }
};

// A READ or atomic accepted by the responder ("responder resource" in the specification). Kept after it was
// answered for its duplicate: a READ is executed again, an atomic is answered with what it found the first
// time.
struct Reply {
    enum class Kind : uint8_t { read, atomic };
    Kind kind;
    uint32_t first_psn;
    uint32_t packets;   // responses in all
    uint32_t msn;       // of its responses
    uint32_t rkey;      // READ
    uint32_t length;    // READ
    uint64_t va;        // READ
    uint64_t original;  // atomic: the value it found
};

// The part of a page that the current WRITE message has brought so far: [from, to) of an unpublished frame.
struct PageBuilder {
    memory::FrameIndex frame = memory::kNoFrame;
    uint64_t page = 0;
    uint32_t from = 0;
    uint32_t to = 0;
    uint32_t known_crcs = 0;  // bit per 1 KiB block whose CRC is in the frame's metadata
};

struct Responder {
    uint32_t expected_psn = 0;
    uint32_t msn = 0;
    enum class InMessage : uint8_t { none, send, write } in_message = InMessage::none;
    bool nak_sent = false;  // a sequence NAK is out: silent until the expected PSN arrives
    bool ack_due = false;   // an ACK of everything before expected_psn is to be sent
    uint8_t nak_due = 0;    // syndrome of a NAK that waits behind READ responses, 0: none
    uint8_t last_nak = 0;   // syndrome of the NAK that ended this QP: sent again when asked again
    uint32_t nak_psn = 0;   // of either
    // the WRITE in progress: what is still to come
    uint64_t write_va = 0;
    uint32_t write_rkey = 0;
    uint32_t write_remaining = 0;
    PageBuilder builder;
    bool has_staged_pages = false;  // in Engine::staged
    bool parked = false;            // the READ at reply_head waits for pages that are not here yet
    // READs and atomics: [reply_head, reply_tail) are to be answered, from packet reply_cursor of the first
    // one on; the kMaxReadDepth before reply_tail are kept for duplicates. Indices run freely.
    uint32_t reply_head = 0;
    uint32_t reply_tail = 0;
    uint32_t reply_done =
        0;  // behind the last one that was ever answered to its end; head is before it in a repetition
    uint32_t reply_cursor = 0;
    uint32_t reply_start = 0;  // packet of the first one from which this execution started: FIRST or ONLY
    std::unique_ptr<std::array<Reply, kMaxReadDepth>> replies;
    MessageRing received;
    // the FREE capsule in execution (capsule_server.cc): how far it has got
    uint32_t capsule_range = 0;
    uint32_t capsule_page = 0;
    uint64_t capsule_freed = 0;

    bool replies_due() const { return reply_head != reply_tail; }
    Reply& reply_at(uint32_t index) { return (*replies)[index % kMaxReadDepth]; }
};

enum class WorkKind : uint8_t { read, write, write_imm, send, compare_swap, fetch_add };

// One posted request of our requester. PSNs are given when it is posted.
struct WorkRequest {
    uint64_t cookie;
    uint64_t remote_va;
    std::byte* local;  // read, atomic: destination; write: source; send: its message slot
    uint32_t length;
    uint32_t rkey;
    uint32_t immediate;
    uint32_t first_psn;
    uint32_t packets;  // PSNs that it takes
    WorkKind kind;
    uint64_t swap_or_add;  // atomic
    uint64_t compare;      // compare_swap

    bool is_atomic() const { return kind == WorkKind::compare_swap || kind == WorkKind::fetch_add; }
    // Completed by its own response, and takes one of the responder's resources until then.
    bool is_answered() const { return kind == WorkKind::read || is_atomic(); }
};

struct Requester {
    // [completed, posted) are not yet done; `sending` and `packet` say which packet goes out next.
    // Free-running.
    uint32_t completed = 0;
    uint32_t sending = 0;
    uint32_t posted = 0;
    uint32_t packet = 0;
    uint32_t next_psn = 0;     // for the next posted request
    uint32_t unacked_psn = 0;  // oldest PSN without an acknowledgement or response
    uint32_t sent_psn = 0;     // behind the last PSN that ever went out (or, for a READ, that was asked for)
    uint32_t resources_in_flight = 0;
    uint32_t window_packets = 128;
    uint32_t since_ack_request = 0;
    uint8_t retries_left = 0;
    uint8_t rnr_retries_left = 0;
    bool gap_seen = false;  // went back because of a gap; not again until there is progress
    bool timer_armed = false;
    uint64_t deadline_tsc = 0;   // acknowledgement timer
    uint64_t rnr_until_tsc = 0;  // nothing is sent before, 0: no wait
    uint64_t timeout_tsc = 0;    // the timer's length, 0: never
    std::unique_ptr<std::array<WorkRequest, kSendQueueDepth>> queue;
    MessageRing to_send;

    WorkRequest& at(uint32_t index) { return (*queue)[index % kSendQueueDepth]; }
    bool has_work() const { return sending != posted; }
    bool in_flight() const { return unacked_psn != sent_psn; }
};

struct Qp {
    // hot, read for every packet
    uint32_t qpn = 0;        // constant
    uint32_t dest_qpn = 0;   // constant
    uint32_t region_id = 0;  // constant
    uint32_t data_rkey = 0;  // constant
    uint16_t mtu_bytes = 0;  // constant; a power of two
    uint8_t mtu_shift = 0;
    uint8_t access = 0;      // memory::Access bits that the role gives
    uint16_t engine = 0;     // constant: index of the owner
    uint16_t port_slot = 0;  // the owner's index of the port
    QpState state = QpState::ready;
    bool active = false;          // in the engine's list of QPs with something to do
    bool timed = false;           // in the engine's list of QPs with a timer
    bool parked = false;          // in the engine's list of QPs that are looked at again now and then
    bool serves_capsules = true;  // constant; false: we opened it, messages are answers to ours
    bool heeds_lease = false;     // constant: answered only while its region has a lease
    bool frozen = false;          // at its last turn it had none
    uint8_t rnr_timer = 12;
    uint8_t ip_header_bytes = 20;
    uint8_t l2_bytes = 14;
    uint8_t responder_resources = 16;
    uint8_t initiator_depth = 16;
    uint8_t retry_count = 7;
    uint8_t rnr_retry = 7;
    uint16_t ip_checksum_base = 0;                          // IPv4 header sum with length 0, not inverted
    alignas(64) std::array<uint8_t, 96> header_template{};  // Ethernet to BTH; lengths, opcode and PSN filled
                                                            // in per packet

    alignas(64) Responder responder;
    alignas(64) Requester requester;

    // atomic: control reads it (the first packet stands in for an RTU), and clears it to see whether more
    // come
    std::atomic<bool> has_received{false};
    std::atomic<bool> failed{false};    // atomic: control reads it and closes the connection
    std::atomic<bool> released{false};  // atomic: the owner has let go of it
    QpAttributes attributes;            // constant
    Puller* puller = nullptr;           // who orders requests on it and takes its messages; null: nobody
    void* context = nullptr;            // of whoever made it; the engine does not look at it
};

// Control thread: fills in a new QP's fields and its header template. Throws std::bad_alloc.
void init_qp(Qp& qp, const QpAttributes& attributes, uint32_t engine);

}  // namespace lagan
