// SPDX-License-Identifier: BSD-3-Clause
// IP address → MAC for the peers that we open connections to (RFC 826, RFC 4861), one table for all ports.
// Control thread only. It is bounded, and a stranger can neither fill it nor change a neighbour that answers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "datapath/net/address.h"
#include "datapath/net/counters.h"
#include "datapath/net/packet_io.h"
#include "datapath/net/port_config.h"

namespace lagan::net {

struct NeighborLimits {
    size_t max_entries = 1024;
    uint64_t retry_us = 200'000;
    uint32_t max_tries = 15;
    uint64_t fresh_us = 30'000'000;  // after that a use asks again, and goes on with the old answer meanwhile
    uint64_t forget_us = 300'000'000;  // unused that long: removed
};

class NeighborTable {
  public:
    // `ports`, `io` and `counters` outlive the table.
    NeighborTable(PacketIo& io, const std::vector<PortConfig>& ports, NetCounters& counters,
                  NeighborLimits limits = {});

    // The MAC if it is known. Else asks for it (now, then every retry_us from tick()) and returns nothing:
    // call again later. Addresses outside every prefix are asked for on the link too: there is no router.
    std::optional<rte_ether_addr> resolve(uint16_t port_id, const IpAddress& ip, uint64_t now_us);

    // True once max_tries requests have gone unanswered; a new resolve() then starts over.
    bool unreachable(uint16_t port_id, const IpAddress& ip) const;

    // From a reply. Taken only while a question of ours is open; returns whether it was.
    bool learn_from_reply(uint16_t port_id, const IpAddress& ip, const rte_ether_addr& mac, uint64_t now_us);

    // From a request for one of our addresses. A neighbour that is known and fresh keeps its MAC.
    void learn_from_request(uint16_t port_id, const IpAddress& ip, const rte_ether_addr& mac,
                            uint64_t now_us);

    // Resends questions, gives up on silent neighbours and forgets old ones. Call at least every retry_us.
    void tick(uint64_t now_us);

    size_t size() const { return entries_.size(); }

  private:
    struct Entry {
        rte_ether_addr mac{};
        bool known = false;    // mac is valid
        bool asked = false;    // a question is open
        bool wanted = false;   // resolve() was called for it: strangers cannot push it out
        bool gave_up = false;  // nobody answered
        uint32_t tries = 0;
        uint64_t confirmed_us = 0;  // when mac was learned
        uint64_t used_us = 0;
        uint64_t next_try_us = 0;
    };
    using Key = std::pair<uint16_t, IpAddress>;

    void ask(const Key& key, Entry& entry, uint64_t now_us);
    bool make_room(bool may_displace_wanted);
    void send_solicitation(const Key& key);

    PacketIo& io_;
    const std::vector<PortConfig>& ports_;
    NetCounters& counters_;
    const NeighborLimits limits_;
    std::map<Key, Entry> entries_;
};

}  // namespace lagan::net
