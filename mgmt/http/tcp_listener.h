// SPDX-License-Identifier: BSD-3-Clause
// A listening TCP socket.
#pragma once

#include "mgmt/http/tcp_address.h"

namespace lagan::http {

// The descriptor, which the caller closes; not blocking. Throws std::runtime_error naming the address.
int listen_tcp(const TcpAddress& address);

// That a listening socket has got.
uint16_t port_of(int fd);

}  // namespace lagan::http
