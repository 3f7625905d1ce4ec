// SPDX-License-Identifier: BSD-3-Clause
// Counters of one engine. Single writer (its lcore); readers may see a value a moment old.
#pragma once

#include <array>
#include <cstdint>

#include "datapath/drop_reason.h"
#include "datapath/refusal.h"

namespace lagan {

// X(name, help)
#define LAGAN_COUNTERS(X)                                                  \
    X(rx_packets, "packets received")                                      \
    X(rx_bytes, "bytes received, without FCS")                             \
    X(tx_packets, "packets given to ports")                                \
    X(tx_bytes, "bytes given to ports")                                    \
    X(reads, "READ requests executed")                                     \
    X(read_bytes, "bytes of READ responses sent")                          \
    X(atomics, "atomics executed")                                         \
    X(write_messages, "WRITE messages executed")                           \
    X(write_bytes, "bytes of WRITE payload taken")                         \
    X(pages_stored, "pages published with a frame")                        \
    X(pages_zero, "pages stored that were all zeros, and took no frame")   \
    X(pages_freed, "pages that FREE capsules made absent")                 \
    X(capsules, "capsules executed")                                       \
    X(capsule_errors, "capsules answered with an error status")            \
    X(duplicates, "duplicate requests seen")                               \
    X(acks, "ACKs sent")                                                   \
    X(sequence_naks, "NAKs sent for a PSN ahead of the expected one")      \
    X(rnr_naks, "RNR NAKs sent: no room, or a page not here")              \
    X(requests, "requests posted by our requester")                        \
    X(retransmits, "times a requester went back to an earlier PSN")        \
    X(timeouts, "acknowledgement timers that ran out")                     \
    X(probes, "signs of life asked of silent peers")                       \
    X(pages_scrubbed, "pages compared with their CRCs in idle time")       \
    X(scrub_rounds, "times that this was done with all pages there were")  \
    X(pages_poisoned, "pages found damaged: reads of them are refused")    \
    X(handovers, "packets handed to the lcore that owns their queue pair") \
    X(punts, "packets handed to the control thread")                       \
    X(polls, "poll iterations")                                            \
    X(empty_polls, "poll iterations that found nothing to do")             \
    X(sleeps, "short sleeps by adaptive polling")                          \
    X(busy_cycles, "TSC cycles in iterations that did something")          \
    X(idle_cycles, "TSC cycles in iterations that found nothing to do, and asleep")

struct alignas(64) Counters {
#define LAGAN_X(name, help) uint64_t name = 0;
    LAGAN_COUNTERS(LAGAN_X)
#undef LAGAN_X
    std::array<uint64_t, kDropReasonCount> drops{};
    std::array<uint64_t, kRefusalCount> refusals{};

    void drop(DropReason reason) {
        drops[static_cast<unsigned>(reason)]++;
    }
    void refuse(Refusal refusal) {
        refusals[static_cast<unsigned>(refusal)]++;
    }
};

// One row of the table above, for whoever shows counters.
struct CounterInfo {
    const char* name;
    const char* help;
    uint64_t Counters::*value;
};
const CounterInfo* counter_table(unsigned& count);

}  // namespace lagan
