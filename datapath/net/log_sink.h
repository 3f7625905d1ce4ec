// SPDX-License-Identifier: BSD-3-Clause
// Where the control side writes lines for people. The program decides what becomes of them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace lagan::net {

enum class LogLevel : uint8_t { debug, info, warning, error };

// May be empty. Called by the control thread only, and never once per bad packet: those are counted.
using LogSink = std::function<void(LogLevel, std::string)>;

}  // namespace lagan::net
