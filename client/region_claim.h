// SPDX-License-Identifier: BSD-3-Clause
// Makes an existing region this session's alone, by agreement of all who call this: lagan run does. The claim
// is in the region itself, so that it holds between machines, and needs nothing of the appliance or of a
// device but READ and WRITE.
#pragma once

#include "client/session.h"

namespace lagan::client {

// The region's last page holds the claim: it is not the caller's.
inline constexpr uint64_t kClaimPages = 1;

// Blocks. The region must hold no page, and holds the claim then, until its pages are freed. Of several that
// claim at the same time one gets it, or none. Throws std::runtime_error: in use, or the connection has
// failed. Only while nothing asynchronous is outstanding.
void claim_region(Session& session);

}  // namespace lagan::client
