// SPDX-License-Identifier: BSD-3-Clause
// How the control thread gets packets out. The engine's implementation is a ring to an lcore; tests keep the
// packets. Called by one thread.
#pragma once

#include <cstdint>

struct rte_mbuf;

namespace lagan::net {

class PacketIo {
  public:
    virtual ~PacketIo() = default;

    // A linear, empty mbuf with at least 2 KiB of room behind its headroom; null when there is none. The
    // caller owns it.
    virtual rte_mbuf* allocate() = 0;

    // Takes the mbuf, whether or not it can be sent. Losing it is allowed: every protocol above resends.
    virtual void transmit(uint16_t port_id, rte_mbuf* packet) = 0;
};

}  // namespace lagan::net
