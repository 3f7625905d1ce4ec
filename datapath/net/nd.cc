// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/net/nd.h"

#include <netinet/in.h>

#include <algorithm>
#include <boost/endian/arithmetic.hpp>
#include <cstring>

#include "datapath/net/icmp.h"

namespace lagan::net {

namespace {

constexpr uint8_t kSolicitation = 135;
constexpr uint8_t kAdvertisement = 136;
constexpr uint8_t kSourceLinkLayer = 1;
constexpr uint8_t kTargetLinkLayer = 2;
constexpr uint8_t kOnLinkHops = 255;  // proves that no router has touched it
constexpr uint32_t kSolicited = 1U << 30;
constexpr uint32_t kOverride = 1U << 29;

// Neighbour solicitation and advertisement, without options.
struct NdMessage {
    uint8_t type;
    uint8_t code;
    uint8_t checksum[2];
    boost::endian::big_uint32_t flags;  // reserved in a solicitation
    uint8_t target[16];
};
static_assert(sizeof(NdMessage) == 24);

struct LinkLayerOption {
    uint8_t type;
    uint8_t length;  // in 8 bytes
    rte_ether_addr mac;
};
static_assert(sizeof(LinkLayerOption) == 8);

constexpr uint16_t kNdBytes = sizeof(NdMessage) + sizeof(LinkLayerOption);
constexpr std::array<uint8_t, 16> kAllNodes = {0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};

std::array<uint8_t, 16> solicited_node(const uint8_t* target) {
    return {0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, target[13], target[14], target[15]};
}

rte_ether_addr multicast_mac(const uint8_t* group) {
    return {{0x33, 0x33, group[12], group[13], group[14], group[15]}};
}

bool is_unspecified(const uint8_t* ip) {
    return std::all_of(ip, ip + 16, [](uint8_t byte) { return byte == 0; });
}

struct Options {
    bool valid = false;
    bool has_mac = false;
    rte_ether_addr mac{};
};

// Walks the options behind an NdMessage; `wanted` is the one whose MAC is returned.
Options read_options(const uint8_t* at, const uint8_t* end, uint8_t wanted) {
    Options options;
    while (at < end) {
        // RFC 4861 7.1: an option of length zero, or one that runs over the end, spoils the packet.
        if (end - at < 8 || at[1] == 0 || end - at < at[1] * 8) return options;
        if (at[0] == wanted && at[1] == 1) {
            options.has_mac = true;
            std::memcpy(&options.mac, at + 2, sizeof options.mac);
        }
        at += at[1] * 8;
    }
    options.valid = !options.has_mac || rte_is_valid_assigned_ether_addr(&options.mac);
    return options;
}

// IPv6 header, message and link-layer option of an ND packet of ours; `message.type`, flags and target are
// set.
void finish_message(rte_mbuf& frame, rte_ipv6_hdr& ip, NdMessage& message, uint8_t option_type,
                    const rte_ether_addr& mac) {
    ip.vtc_flow = RTE_BE32(6U << 28);
    ip.payload_len = RTE_BE16(kNdBytes);
    ip.proto = IPPROTO_ICMPV6;
    ip.hop_limits = kOnLinkHops;
    auto* option = reinterpret_cast<LinkLayerOption*>(&message + 1);
    *option = {option_type, 1, mac};
    message.code = 0;
    std::memset(message.checksum, 0, sizeof message.checksum);
    const auto offset =
        static_cast<uint32_t>(reinterpret_cast<char*>(&message) - rte_pktmbuf_mtod(&frame, char*));
    const uint16_t checksum = icmp6_checksum(frame, ip, offset);
    std::memcpy(message.checksum, &checksum, sizeof checksum);
}

Verdict answer_solicitation(rte_mbuf& frame, rte_ipv6_hdr& ip, uint32_t offset, const Options& options,
                            const PortConfig& port, NeighborTable& neighbors, uint64_t now_us) {
    auto* message = header_at<NdMessage>(frame, offset);
    const IpAddress source = IpAddress::from_ipv6(ip.src_addr);
    const bool detection = is_unspecified(ip.src_addr);
    const auto group = solicited_node(message->target);
    const bool to_group = std::equal(group.begin(), group.end(), ip.dst_addr);
    // RFC 4861 7.1.1: from the unspecified address only to the group, and without the option.
    if (detection && (!to_group || options.has_mac)) return Verdict::malformed;
    if (!detection && !is_unicast(source)) return Verdict::malformed;
    if (!to_group && !port.has_address(IpAddress::from_ipv6(ip.dst_addr))) return Verdict::not_for_us;

    const auto* ethernet = rte_pktmbuf_mtod(&frame, const rte_ether_hdr*);
    const rte_ether_addr requester = options.has_mac ? options.mac : ethernet->src_addr;
    if (!rte_is_valid_assigned_ether_addr(&requester)) return Verdict::malformed;
    if (!detection) neighbors.learn_from_request(port.port_id, source, requester, now_us);

    // The answer always has one option; the question may have none, one or many.
    const uint32_t wanted_bytes = offset + kNdBytes;
    if (frame.pkt_len > wanted_bytes
            ? !trim_to(frame, wanted_bytes)
            : rte_pktmbuf_append(&frame, static_cast<uint16_t>(wanted_bytes - frame.pkt_len)) == nullptr) {
        return Verdict::unsupported;
    }
    std::memcpy(ip.dst_addr, detection ? kAllNodes.data() : source.bytes.data(), sizeof ip.dst_addr);
    std::memcpy(ip.src_addr, message->target, sizeof ip.src_addr);
    message->type = kAdvertisement;
    message->flags = detection ? kOverride : kSolicited | kOverride;
    finish_message(frame, ip, *message, kTargetLinkLayer, port.mac);
    address_frame(frame, detection ? multicast_mac(kAllNodes.data()) : requester, port.mac);
    return Verdict::reply;
}

Verdict take_advertisement(rte_mbuf& frame, const NdMessage& message, const Options& options,
                           const PortConfig& port, NeighborTable& neighbors, uint64_t now_us) {
    const auto* ethernet = rte_pktmbuf_mtod(&frame, const rte_ether_hdr*);
    const rte_ether_addr mac = options.has_mac ? options.mac : ethernet->src_addr;
    if (!rte_is_valid_assigned_ether_addr(&mac)) return Verdict::malformed;
    const IpAddress target = IpAddress::from_ipv6(message.target);
    if (port.has_address(target)) return Verdict::address_conflict;
    return neighbors.learn_from_reply(port.port_id, target, mac, now_us) ? Verdict::learned
                                                                         : Verdict::ignored;
}

Verdict handle_nd(rte_mbuf& frame, rte_ipv6_hdr& ip, uint32_t offset, const PortConfig& port,
                  NeighborTable& neighbors, uint64_t now_us) {
    auto* message = header_at<NdMessage>(frame, offset);
    if (message == nullptr || message->code != 0 || ip.hop_limits != kOnLinkHops ||
        message->target[0] == 0xff) {
        return Verdict::malformed;
    }
    if (frame.nb_segs != 1) return Verdict::unsupported;
    const bool solicitation = message->type == kSolicitation;
    const auto* end = rte_pktmbuf_mtod_offset(&frame, const uint8_t*, frame.data_len);
    const Options options = read_options(reinterpret_cast<const uint8_t*>(message + 1), end,
                                         solicitation ? kSourceLinkLayer : kTargetLinkLayer);
    if (!options.valid) return Verdict::malformed;
    if (!solicitation) return take_advertisement(frame, *message, options, port, neighbors, now_us);
    if (port.has_address(IpAddress::from_ipv6(ip.src_addr))) return Verdict::address_conflict;
    if (!port.has_address(IpAddress::from_ipv6(message->target))) return Verdict::not_for_us;
    return answer_solicitation(frame, ip, offset, options, port, neighbors, now_us);
}

}  // namespace

Icmp6Result handle_icmp6(rte_mbuf& frame, const EthernetView& ethernet, const PortConfig& port,
                         NeighborTable& neighbors, uint64_t now_us) {
    auto* ip = header_at<rte_ipv6_hdr>(frame, ethernet.header_bytes);
    if (ip == nullptr || (rte_be_to_cpu_32(ip->vtc_flow) >> 28) != 6) return {Verdict::malformed, false};
    if (ip->proto != IPPROTO_ICMPV6) return {Verdict::unsupported, false};
    const uint32_t offset = ethernet.header_bytes + static_cast<uint32_t>(sizeof *ip);
    if (!trim_to(frame, offset + rte_be_to_cpu_16(ip->payload_len))) return {Verdict::malformed, false};
    const auto* type = header_at<uint8_t>(frame, offset);
    if (type == nullptr || icmp6_checksum(frame, *ip, offset) != 0) return {Verdict::malformed, false};
    if (*type == kSolicitation || *type == kAdvertisement) {
        return {handle_nd(frame, *ip, offset, port, neighbors, now_us), false};
    }
    return {handle_echo6(frame, *ip, offset, port), true};
}

bool build_neighbor_solicitation(rte_mbuf& frame, const PortConfig& port, const IpAddress& own,
                                 const IpAddress& wanted) {
    char* const bytes = rte_pktmbuf_append(&frame, sizeof(rte_ether_hdr) + sizeof(rte_ipv6_hdr) + kNdBytes);
    if (bytes == nullptr) return false;
    const auto group = solicited_node(wanted.bytes.data());
    auto* ethernet = reinterpret_cast<rte_ether_hdr*>(bytes);
    ethernet->dst_addr = multicast_mac(group.data());
    ethernet->src_addr = port.mac;
    ethernet->ether_type = RTE_BE16(RTE_ETHER_TYPE_IPV6);
    auto* ip = reinterpret_cast<rte_ipv6_hdr*>(ethernet + 1);
    std::memcpy(ip->src_addr, own.bytes.data(), sizeof ip->src_addr);
    std::memcpy(ip->dst_addr, group.data(), sizeof ip->dst_addr);
    auto* message = reinterpret_cast<NdMessage*>(ip + 1);
    message->type = kSolicitation;
    message->flags = 0;
    std::memcpy(message->target, wanted.bytes.data(), sizeof message->target);
    finish_message(frame, *ip, *message, kSourceLinkLayer, port.mac);
    return true;
}

}  // namespace lagan::net
