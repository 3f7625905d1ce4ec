// SPDX-License-Identifier: BSD-3-Clause
// What became of each frame that the control thread was given. Single writer: the control thread.
#pragma once

#include <atomic>
#include <cstdint>

namespace lagan::net {

// X(name, help)
#define LAGAN_NET_COUNTERS(X)                                                                      \
    X(arp_answered, "ARP requests for one of our addresses, answered")                             \
    X(arp_learned, "ARP replies to a request of ours")                                             \
    X(nd_answered, "IPv6 neighbour solicitations for one of our addresses, answered")              \
    X(nd_learned, "IPv6 neighbour advertisements that answered a solicitation of ours")            \
    X(echo4_answered, "ICMP echo requests answered")                                               \
    X(echo6_answered, "ICMPv6 echo requests answered")                                             \
    X(not_for_us, "ARP, ND or echo for an address that is not ours")                               \
    X(ignored, "well-formed and of no interest: other ICMP types, replies nobody asked for")       \
    X(malformed, "ARP, ND or ICMP with a wrong length, field or checksum")                         \
    X(unsupported, "fragments, IPv4 options, IPv6 extension headers, headers split over segments") \
    X(address_conflict, "ARP or ND from somebody who claims one of our addresses")                 \
    X(no_mbuf, "a solicitation was not sent for want of an mbuf")                                  \
    X(neighbor_table_full, "a neighbour was not looked up or learned: the table is full")          \
    X(neighbor_unreachable, "neighbours that did not answer")

struct NetCounters {
#define LAGAN_X(name, help) std::atomic<uint64_t> name{0};
    LAGAN_NET_COUNTERS(LAGAN_X)
#undef LAGAN_X

    // visit(name, help, value) for each, from any thread.
    template <typename Visitor>
    void for_each(Visitor&& visit) const {
#define LAGAN_X(name, help) visit(#name, help, name.load(std::memory_order_relaxed));
        LAGAN_NET_COUNTERS(LAGAN_X)
#undef LAGAN_X
    }
};

// Adds one. A load and a store: there is one writer, and readers only want a recent value.
inline void count(std::atomic<uint64_t>& counter) {
    counter.store(counter.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

}  // namespace lagan::net
