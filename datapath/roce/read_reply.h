// SPDX-License-Identifier: BSD-3-Clause
// Builds one READ response packet without touching its payload: header mbuf → external buffers on the frames
// → tail with pad and ICRC. The ICRC is combined from the header's CRC and the CRCs kept with the frames.
// lagan: hot-path
#pragma once

#include "datapath/engine.h"
#include "datapath/roce/opcode.h"

namespace lagan::roce {

struct ReadReply {
    Opcode opcode;
    uint32_t psn;
    uint32_t msn;
    uint64_t va;
    uint32_t bytes;
    bool again;  // the requester did not take the first response, maybe since the page is damaged: verify it
};

enum class ReadOutcome : uint8_t {
    sent,
    no_mbufs,  // counted
    pending,   // a page's content is not here yet
    poisoned,  // a page is damaged: to be refused
};

// `memory` is null for a response of no bytes. The owner lcore, inside its RCU read-side section.
ReadOutcome send_read_reply(Engine& engine, Qp& qp, const memory::MemoryRegion* memory,
                            const ReadReply& reply);

}  // namespace lagan::roce
