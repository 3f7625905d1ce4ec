// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/cm/connect_types.h"

#include <algorithm>
#include <stdexcept>

namespace lagan::cm {

namespace {

// IPv6, UDP, BTH, the longest extension header (AtomicETH) and ICRC: what an RNIC leaves room for as well, so
// that both ends of a link come to the same path MTU.
constexpr uint16_t kHeaderBytes = 40 + 8 + 12 + 28 + 4;

void require(bool good, const std::string& what) {
    if (!good) throw std::invalid_argument("connect: " + what);
}

}  // namespace

uint16_t largest_path_mtu(uint16_t port_mtu) {
    if (port_mtu <= kHeaderBytes) return 0;
    const auto code = roce::mtu_code_of_bytes(static_cast<uint32_t>(port_mtu - kHeaderBytes));
    return code ? *roce::mtu_bytes_of_code(*code) : uint16_t{0};
}

void validate(const ConnectParams& params, const std::vector<net::PortConfig>& ports) {
    const net::PortConfig* port = net::find_port(ports, params.path.port_id);
    require(port != nullptr, "there is no port " + std::to_string(params.path.port_id));
    const auto code = roce::mtu_code_of_bytes(params.mtu_bytes);
    require(code && roce::mtu_bytes_of_code(*code) == params.mtu_bytes,
            "path MTU " + std::to_string(params.mtu_bytes) + " is none of 256, 512, 1024, 2048 and 4096");
    require(params.mtu_bytes <= largest_path_mtu(port->mtu),
            "path MTU " + std::to_string(params.mtu_bytes) + " does not fit the port's MTU of " +
                std::to_string(port->mtu) + "; the largest that does is " +
                std::to_string(largest_path_mtu(port->mtu)));
    require(params.private_data.size() <= kMaxRequestData, "more than 56 bytes of private data");
    require(params.service_port != 0, "service port 0");
    require(params.ack_timeout < 32 && params.response_timeout < 32, "a timeout exponent above 31");
    require(params.retry_count < 8 && params.rnr_retry < 8, "a retry count above 7");
    require(params.max_retries < 16, "more than 15 CM retries");
}

const char* to_string(ConnectStatus status) {
    switch (status) {
        case ConnectStatus::established:
            return "established";
        case ConnectStatus::rejected:
            return "rejected";
        case ConnectStatus::timeout:
            return "no answer";
        case ConnectStatus::unreachable:
            return "no host at that address";
        case ConnectStatus::no_resources:
            return "no queue pair free";
        case ConnectStatus::closed:
            return "closed";
    }
    return "unknown";
}

const char* to_string(DisconnectReason reason) {
    switch (reason) {
        case DisconnectReason::local:
            return "closed by this side";
        case DisconnectReason::peer:
            return "closed by the peer";
        case DisconnectReason::peer_reject:
            return "refused by the peer";
        case DisconnectReason::no_rtu:
            return "never confirmed by the peer";
        case DisconnectReason::stale:
            return "replaced: the peer started anew";
    }
    return "unknown";
}

}  // namespace lagan::cm
