// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/cm/control_plane.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "datapath/roce/decode.h"

namespace lagan::cm {

ControlPlane::ControlPlane(net::PacketIo& io, std::vector<net::PortConfig> ports, QpProvider& provider,
                           const CmOptions& options, net::LogSink log)
    : ports_(std::move(ports)),
      neighbors_(io, ports_, net_counters_),
      responder_(io, ports_, neighbors_, net_counters_),
      connections_(io, ports_, provider, options, std::move(log)) {}

void ControlPlane::on_punted(rte_mbuf* frame, uint64_t now_us) {
    if (responder_.take(frame, now_us)) return;
    const net::PortConfig* port = net::find_port(ports_, frame->port);
    const std::span<const uint8_t> bytes(rte_pktmbuf_mtod(frame, const uint8_t*), frame->data_len);
    roce::Packet packet{};
    // A management datagram fits any first segment; what is split was not sent by a CM.
    const bool datagram =
        port != nullptr && frame->nb_segs == 1 &&
        roce::decode(bytes.data(), frame->data_len, packet).result == roce::DecodeResult::punt &&
        packet.info != nullptr;
    if (datagram) {
        connections_.on_datagram(*port, bytes, packet, now_us);
    } else {
        net::count(unhandled_);
    }
    rte_pktmbuf_free(frame);
}

void ControlPlane::tick(uint64_t now_us) {
    neighbors_.tick(now_us);
    connections_.tick(now_us);
    // Callbacks may ask for new connections meanwhile: those wait for the next tick.
    std::vector<Lookup> waiting = std::exchange(lookups_, {});
    std::erase_if(waiting, [&](Lookup& lookup) { return advance(lookup, now_us); });
    lookups_.insert(lookups_.begin(), std::make_move_iterator(waiting.begin()),
                    std::make_move_iterator(waiting.end()));
}

void ControlPlane::connect(const ConnectParams& params, ConnectCallback callback) {
    validate(params, ports_);
    lookups_.push_back({params, std::move(callback), false});
}

// True when the lookup is over, one way or the other.
bool ControlPlane::advance(Lookup& lookup, uint64_t now_us) {
    net::Path& path = lookup.params.path;
    const net::PortConfig* port = net::find_port(ports_, path.port_id);
    const net::IpAddress* own = port == nullptr ? nullptr : port->source_for(path.remote_ip);
    // An earlier lookup may have failed: only this one's own failure counts.
    if (own == nullptr || (lookup.asked && neighbors_.unreachable(path.port_id, path.remote_ip))) {
        lookup.callback({.status = ConnectStatus::unreachable});
        return true;
    }
    const auto mac = neighbors_.resolve(path.port_id, path.remote_ip, now_us);
    lookup.asked = true;
    if (!mac) return false;
    path.local_mac = port->mac;
    path.remote_mac = *mac;
    path.local_ip = *own;
    if (connections_.connect(lookup.params, lookup.callback) == 0) {
        lookup.callback({.status = ConnectStatus::no_resources});
    }
    return true;
}

}  // namespace lagan::cm
