// SPDX-License-Identifier: BSD-3-Clause
// A peer that does what it likes: builds each packet by hand, puts it on the server's port and looks at what
// comes back. The server engine alone is polled.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "datapath/roce/aeth.h"
#include "datapath/roce/headers.h"
#include "datapath/roce/opcode.h"
#include "tests/support/loopback.h"

namespace lagan::test {

using Frame = std::vector<uint8_t>;

struct RethFields {
    uint64_t va;
    uint32_t rkey;
    uint32_t length;
};

struct AtomicFields {
    uint64_t va;
    uint32_t rkey;
    uint64_t swap_or_add;
    uint64_t compare;
};

// A request as it should be; `change` spoils the finished frame before its ICRC is made, `damage` after that.
// Both get offsets of the headers in it.
struct Request {
    struct Layout {
        size_t ip, udp, bth, payload;
    };
    using Edit = std::function<void(Frame&, const Layout&)>;

    roce::Opcode opcode;
    uint32_t psn;
    RethFields reth{};      // where the opcode has one
    AtomicFields atomic{};  // where the opcode has one
    Frame payload{};
    bool ack_request = true;
    Edit change{};
    Edit damage{};
};

struct Answer {
    roce::Opcode opcode;
    uint32_t psn;
    uint8_t syndrome;  // 0xff where there is no AETH
    uint32_t msn;
    Frame payload;
    uint64_t original;  // of an ATOMIC_ACK
};

class RawPeer {
  public:
    RawPeer(Loopback& link, const memory::Region& region, Role role = Role::write);

    // The frame that stands for the request on the wire.
    Frame build(const Request& request) const;

    void send_frame(const Frame& frame);
    void send(const Request& request) { send_frame(build(request)); }
    // Polls the server until it is idle (or `polls` times); what it has sent, all ICRCs checked.
    std::vector<Answer> answers(uint32_t polls = 0);
    std::vector<Answer> exchange(const Request& request) {
        send(request);
        return answers();
    }

    // Requests at the next PSN; READs take as many as they must.
    Request write_only(uint64_t va, Frame payload);
    Request read(uint64_t va, uint32_t length);
    Request compare_swap(uint64_t va, uint64_t compare, uint64_t swap);
    Request fetch_add(uint64_t va, uint64_t add);
    Request message(Frame payload);
    // Says "received" for everything the server has sent us as a requester.
    void acknowledge(uint32_t psn);

    Loopback& link;
    Loopback::Pair pair;
    Qp& qp;         // the server's
    uint32_t psn;   // next
    uint32_t rkey;  // of the region's pages
};

uint64_t dropped(const Engine& engine, DropReason reason);
uint64_t refused(const Engine& engine, Refusal refusal);

}  // namespace lagan::test
