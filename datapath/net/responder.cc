// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/net/responder.h"

#include <netinet/in.h>

#include "datapath/net/arp.h"
#include "datapath/net/icmp.h"
#include "datapath/net/nd.h"

namespace lagan::net {

Responder::Responder(PacketIo& io, const std::vector<PortConfig>& ports, NeighborTable& neighbors,
                     NetCounters& counters)
    : io_(io), ports_(ports), neighbors_(neighbors), counters_(counters) {}

bool Responder::take(rte_mbuf* frame, uint64_t now_us) {
    const auto ethernet = parse_ethernet(*frame);
    const PortConfig* port = find_port(ports_, frame->port);
    if (!ethernet || port == nullptr) return false;
    if (ethernet->ether_type == RTE_ETHER_TYPE_ARP) {
        finish(frame, handle_arp(*frame, *ethernet, *port, neighbors_, now_us), counters_.arp_answered,
               counters_.arp_learned);
        return true;
    }
    if (ethernet->ether_type == RTE_ETHER_TYPE_IPV4) {
        const auto* ip = header_at<rte_ipv4_hdr>(*frame, ethernet->header_bytes);
        if (ip == nullptr || ip->next_proto_id != IPPROTO_ICMP) return false;
        finish(frame, handle_icmp4(*frame, *ethernet, *port), counters_.echo4_answered, counters_.ignored);
        return true;
    }
    if (ethernet->ether_type == RTE_ETHER_TYPE_IPV6) {
        const auto* ip = header_at<rte_ipv6_hdr>(*frame, ethernet->header_bytes);
        if (ip == nullptr || ip->proto == IPPROTO_UDP) return false;
        const Icmp6Result result = handle_icmp6(*frame, *ethernet, *port, neighbors_, now_us);
        finish(frame, result.verdict, result.echo ? counters_.echo6_answered : counters_.nd_answered,
               counters_.nd_learned);
        return true;
    }
    return false;
}

void Responder::finish(rte_mbuf* frame, Verdict verdict, std::atomic<uint64_t>& answered,
                       std::atomic<uint64_t>& learned) {
    switch (verdict) {
        case Verdict::reply:
            count(answered);
            io_.transmit(frame->port, frame);
            return;
        case Verdict::learned:
            count(learned);
            break;
        case Verdict::ignored:
            count(counters_.ignored);
            break;
        case Verdict::not_for_us:
            count(counters_.not_for_us);
            break;
        case Verdict::malformed:
            count(counters_.malformed);
            break;
        case Verdict::unsupported:
            count(counters_.unsupported);
            break;
        case Verdict::address_conflict:
            count(counters_.address_conflict);
            break;
    }
    rte_pktmbuf_free(frame);
}

}  // namespace lagan::net
