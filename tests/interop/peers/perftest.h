// SPDX-License-Identifier: BSD-3-Clause
// The server's side of perftest with -R, for tests in which the client does the work: ib_read_bw,
// ib_read_lat, ib_write_bw, ib_atomic_bw, ib_atomic_lat. perftest makes two connections, one to agree on the
// test and one for its data. On both of them each message of the client's is answered by one of the same
// kind:
//
//   bytes  what                                                         answer
//   16     perftest's version, as text                                  the same
//   4      buffer size, cache line size                                  the same
//   2      path MTU's code, as text                                      the same
//   8      a figure of the client's report                              the same
//   56     Keys: all zero to keep in step, else where to read or write  zero, or our Keys
#pragma once

#include <cstdint>

#include "tests/interop/peers/node.h"

namespace lagan::interop {

inline constexpr uint16_t kPerftestPort = 18515;

// Serves clients, one after the other or at the same time, until `clients` of them have disconnected, each
// of whom has two connections. Throws std::runtime_error for a message that perftest does not send, or when
// a request fails.
void serve_perftest(Node& node, uint32_t clients);

}  // namespace lagan::interop
