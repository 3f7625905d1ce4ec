// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/net/neighbor.h"

#include <rte_mbuf.h>

#include "datapath/net/arp.h"
#include "datapath/net/nd.h"

namespace lagan::net {

NeighborTable::NeighborTable(PacketIo& io, const std::vector<PortConfig>& ports, NetCounters& counters,
                             NeighborLimits limits)
    : io_(io), ports_(ports), counters_(counters), limits_(limits) {}

std::optional<rte_ether_addr> NeighborTable::resolve(uint16_t port_id, const IpAddress& ip, uint64_t now_us) {
    const Key key{port_id, ip};
    auto found = entries_.find(key);
    if (found == entries_.end()) {
        if (!make_room(true)) {
            count(counters_.neighbor_table_full);
            return std::nullopt;
        }
        found = entries_.emplace(key, Entry{}).first;
    }
    Entry& entry = found->second;
    entry.wanted = true;
    entry.used_us = now_us;
    const bool fresh = entry.known && now_us - entry.confirmed_us < limits_.fresh_us;
    if (!fresh && !entry.asked) {
        entry.asked = true;
        entry.gave_up = false;
        entry.tries = 0;
        ask(key, entry, now_us);
    }
    return entry.known ? std::optional(entry.mac) : std::nullopt;
}

bool NeighborTable::unreachable(uint16_t port_id, const IpAddress& ip) const {
    const auto found = entries_.find({port_id, ip});
    return found != entries_.end() && found->second.gave_up;
}

bool NeighborTable::learn_from_reply(uint16_t port_id, const IpAddress& ip, const rte_ether_addr& mac,
                                     uint64_t now_us) {
    const auto found = entries_.find({port_id, ip});
    if (found == entries_.end() || !found->second.asked) return false;
    Entry& entry = found->second;
    entry.mac = mac;
    entry.known = true;
    entry.asked = false;
    entry.confirmed_us = now_us;
    return true;
}

void NeighborTable::learn_from_request(uint16_t port_id, const IpAddress& ip, const rte_ether_addr& mac,
                                       uint64_t now_us) {
    const PortConfig* port = find_port(ports_, port_id);
    // Only what can be a neighbour: a stranger could fill the table with invented addresses otherwise.
    if (port == nullptr || !port->on_link(ip) || port->has_address(ip)) return;
    const Key key{port_id, ip};
    auto found = entries_.find(key);
    if (found == entries_.end()) {
        if (!make_room(false)) {
            count(counters_.neighbor_table_full);
            return;
        }
        found = entries_.emplace(key, Entry{}).first;
        found->second.used_us = now_us;
    }
    Entry& entry = found->second;
    if (entry.known && now_us - entry.confirmed_us < limits_.fresh_us &&
        !rte_is_same_ether_addr(&entry.mac, &mac)) {
        return;
    }
    entry.mac = mac;
    entry.known = true;
    entry.asked = false;
    entry.gave_up = false;
    entry.confirmed_us = now_us;
}

void NeighborTable::tick(uint64_t now_us) {
    for (auto at = entries_.begin(); at != entries_.end();) {
        auto& [key, entry] = *at;
        if (entry.asked && now_us >= entry.next_try_us) {
            if (entry.tries < limits_.max_tries) {
                ask(key, entry, now_us);
            } else {
                entry.asked = false;
                entry.known = false;
                entry.gave_up = true;
                count(counters_.neighbor_unreachable);
            }
        }
        const bool forget = !entry.asked && now_us - entry.used_us > limits_.forget_us;
        at = forget ? entries_.erase(at) : std::next(at);
    }
}

void NeighborTable::ask(const Key& key, Entry& entry, uint64_t now_us) {
    ++entry.tries;
    entry.next_try_us = now_us + limits_.retry_us;
    send_solicitation(key);
}

// The longest unused entry makes way: one that was only overheard before one that is in use, and a stranger
// never displaces the latter.
bool NeighborTable::make_room(bool may_displace_wanted) {
    if (entries_.size() < limits_.max_entries) return true;
    auto victim = entries_.end();
    for (auto at = entries_.begin(); at != entries_.end(); ++at) {
        if (at->second.wanted && (!may_displace_wanted || at->second.asked)) continue;
        const bool better =
            victim == entries_.end() || at->second.wanted < victim->second.wanted ||
            (at->second.wanted == victim->second.wanted && at->second.used_us < victim->second.used_us);
        if (better) victim = at;
    }
    if (victim == entries_.end()) return false;
    entries_.erase(victim);
    return true;
}

void NeighborTable::send_solicitation(const Key& key) {
    const auto& [port_id, wanted] = key;
    const PortConfig* port = find_port(ports_, port_id);
    const IpAddress* own = port == nullptr ? nullptr : port->source_for(wanted);
    if (own == nullptr) return;  // no address of that family: the lookup ends as unreachable
    rte_mbuf* frame = io_.allocate();
    const bool built =
        frame != nullptr && (wanted.is_ipv4() ? build_arp_request(*frame, *port, *own, wanted)
                                              : build_neighbor_solicitation(*frame, *port, *own, wanted));
    if (!built) {
        count(counters_.no_mbuf);
        rte_pktmbuf_free(frame);
        return;
    }
    io_.transmit(port_id, frame);
}

}  // namespace lagan::net
