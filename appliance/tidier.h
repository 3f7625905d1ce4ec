// SPDX-License-Identifier: BSD-3-Clause
// Ends what nobody else will end: connections whose queue pair has failed or whose peer has gone, and
// temporary regions without a connection. Tells of pages that the lcores found damaged. Control thread only.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <set>

#include "appliance/appliance.h"

namespace lagan::appliance {

class Tidier {
  public:
    // Takes over the connection manager's handler of established connections. The appliance outlives it.
    explicit Tidier(Appliance& appliance);
    ~Tidier();
    Tidier(const Tidier&) = delete;
    Tidier& operator=(const Tidier&) = delete;

    void tidy_sometimes();

  private:
    using Clock = std::chrono::steady_clock;

    // A failed queue pair is kept for one round, to repeat its NAK when the peer asks again.
    void close_failed();
    // The other end of a vhost or memif link is a process: when it has gone, so have its connections, whoever
    // has taken its place meanwhile.
    void close_vanished();
    // On other links nothing tells that a peer has gone: who has said nothing for a while is asked for a sign
    // of life, and without one its queue pair fails.
    void probe_silent();
    // A region made for one run goes when its last connection has ended, or when none was made in a minute.
    void delete_temporary_regions();
    void tell_damaged();
    const Port* port_of(uint16_t port_id) const;
    uint32_t losses_of(uint16_t port_id) const;

    Appliance& a_;
    Clock::time_point next_;
    std::set<uint32_t> failed_;  // QPNs, of the last round
    struct Established {
        uint32_t losses_before;      // losses_of() its port when it was made
        uint32_t silent_rounds = 0;  // without a packet of the peer's
    };
    std::map<uint32_t, Established> established_;  // by QPN
};

}  // namespace lagan::appliance
