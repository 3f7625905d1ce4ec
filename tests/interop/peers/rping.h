// SPDX-License-Identifier: BSD-3-Clause
// The protocol of rdma-core's rping, both sides. For each ping:
//
//   client                                   server
//   SEND {address, R_Key, size} of source ──►
//                                        ◄── READ of it
//                                        ◄── SEND: go on
//   SEND {address, R_Key, size} of sink ───►
//                                        ◄── WRITE of what was read
//                                        ◄── SEND: done
//   compares sink and source
#pragma once

#include <cstdint>

#include "tests/interop/peers/node.h"

namespace lagan::interop {

inline constexpr uint16_t kRpingPort = 7174;

// Serves one client until it disconnects; returns how many pings there were. Throws std::runtime_error when
// what the client wrote is not what rping writes, or the connection fails.
uint32_t serve_rping(Node& node, Connection& client);

// `count` pings of `size_bytes` with text that `seed` makes; needs flat memory of twice that size. Throws
// std::runtime_error when a byte comes back changed, or the connection fails.
void run_rping(Node& node, Connection& server, uint32_t count, uint32_t size_bytes, uint64_t seed);

}  // namespace lagan::interop
