// SPDX-License-Identifier: BSD-3-Clause
// Every reason for which a request is answered with a NAK that ends its connection, and the NAK that belongs
// to it.
#pragma once

#include <cstdint>

#include "datapath/roce/aeth.h"

namespace lagan {

// X(name, Nak, help)
#define LAGAN_REFUSALS(X)                                                                                    \
    X(none, invalid_request, "not refused")                                                                  \
    X(opcode_sequence, invalid_request, "a packet that does not belong where it came in its message")        \
    X(packet_length, invalid_request,                                                                        \
      "FIRST or MIDDLE not of one path MTU, LAST or ONLY empty or longer than it")                           \
    X(message_length, invalid_request,                                                                       \
      "the message is longer or shorter than its RETH says, or above 2 GiB")                                 \
    X(send_length, invalid_request, "a SEND longer than a capsule may be")                                   \
    X(read_depth, invalid_request, "more READs and atomics outstanding than were negotiated")                \
    X(duplicate_read, invalid_request, "a duplicate READ that does not lie within the original")             \
    X(misaligned_atomic, invalid_request, "an atomic whose address is no multiple of eight")                 \
    X(unknown_rkey, remote_access_error, "no memory region of that R_Key")                                   \
    X(other_region, remote_access_error, "an R_Key of a region that the connection's grant does not name")   \
    X(out_of_range, remote_access_error, "bytes beyond the memory region's end")                             \
    X(access_right, remote_access_error,                                                                     \
      "a right that the memory region or the connection's role does not give")                               \
    X(invalidate, remote_access_error, "a SEND that would invalidate an R_Key: only the appliance ends one") \
    X(no_frames, remote_operational_error,                                                                   \
      "no frame left for a page: the appliance is overcommitted and full")                                   \
    X(poisoned_page, remote_operational_error, "the page's content was found damaged")

enum class Refusal : uint8_t {
#define LAGAN_X(name, nak, help) name,
    LAGAN_REFUSALS(LAGAN_X)
#undef LAGAN_X
        count_
};

inline constexpr unsigned kRefusalCount = static_cast<unsigned>(Refusal::count_);

constexpr roce::Nak nak_of(Refusal refusal) {
    constexpr roce::Nak kNaks[] = {
#define LAGAN_X(name, nak, help) roce::Nak::nak,
        LAGAN_REFUSALS(LAGAN_X)
#undef LAGAN_X
    };
    return kNaks[static_cast<unsigned>(refusal)];
}

const char* refusal_name(Refusal refusal);
const char* refusal_help(Refusal refusal);

}  // namespace lagan
