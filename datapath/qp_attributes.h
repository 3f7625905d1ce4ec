// SPDX-License-Identifier: BSD-3-Clause
// What the connection manager decides about a queue pair before it exists.
#pragma once

#include <cstdint>

#include "datapath/net/address.h"

namespace lagan {

// What a grant allows. `none` is a QP that serves no memory (a client's).
enum class Role : uint8_t { none = 0, read = 1, write = 2, recover = 3 };

struct QpAttributes {
    net::Path path;
    uint32_t qpn = 0;                  // ours; from QpTable::allocate_qpn()
    uint32_t dest_qpn = 0;             // theirs
    uint32_t receive_psn = 0;          // first PSN expected from them
    uint32_t send_psn = 0;             // first PSN that we send
    uint16_t mtu_bytes = 1024;         // path MTU: 256, 512, 1024, 2048 or 4096
    uint8_t responder_resources = 16;  // READs and atomics that we accept outstanding
    uint8_t initiator_depth = 16;      // READs and atomics that we may have outstanding
    uint8_t ack_timeout = 14;          // 4.096 us × 2^n; 0: never
    uint8_t retry_count = 7;
    uint8_t rnr_retry = 7;   // 7: for ever
    uint8_t rnr_timer = 12;  // code sent in our RNR NAKs (aeth.h)
    uint32_t region_id = 0;  // the one region this QP reaches; 0: none
    uint32_t data_rkey = 0;  // R_Key of that region's pages: what capsules are about
    Role role = Role::none;
};

}  // namespace lagan
