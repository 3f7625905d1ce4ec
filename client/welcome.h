// SPDX-License-Identifier: BSD-3-Clause
// The appliance's answer to a connection request, as every fabric gets it (docs/protocol.md, "Connection").
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "client/fabric.h"

namespace lagan::client {

// The private data of a REP. Throws Refused when it is not what this client understands.
RegionInfo read_welcome(std::span<const uint8_t> private_data);

// A REJ in one line for people.
std::string refusal_text(unsigned reason, std::span<const uint8_t> private_data);

// Throws Refused; or std::runtime_error for a reason that goes away by itself, such as "nobody listens".
[[noreturn]] void throw_refusal(unsigned reason, std::span<const uint8_t> private_data);

}  // namespace lagan::client
