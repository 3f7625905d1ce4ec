// SPDX-License-Identifier: BSD-3-Clause
// The UD packets to and from QP1 that carry management datagrams. Control thread.
#pragma once

#include <rte_mbuf.h>

#include <cstdint>
#include <span>

#include "datapath/net/port_config.h"
#include "datapath/roce/cm_mad.h"
#include "datapath/roce/decode.h"

namespace lagan::cm {

enum class DatagramError : uint8_t { none, not_for_us, bad_source, not_ud, qkey, icrc };

// Checks the addresses of `frame` against `port`, the opcode, length, Q_Key and ICRC of `packet` (which
// roce::decode() made from the frame), and fills in `path` for the answer.
DatagramError check_datagram(const net::PortConfig& port, std::span<const uint8_t> frame,
                             const roce::Packet& packet, net::Path& path);

// Fills an empty mbuf with the UD SEND_ONLY that takes `mad` along `path`, ICRC included. False when it has
// no room.
bool build_datagram(rte_mbuf& frame, const net::Path& path, uint32_t psn, const roce::Mad& mad);

}  // namespace lagan::cm
