// SPDX-License-Identifier: BSD-3-Clause
// Lines for people, on stderr, where systemd and tests pick them up. Any thread but poll lcores.
#pragma once

#include <spdlog/spdlog.h>

#include "appliance/options.h"
#include "datapath/net/log_sink.h"

namespace lagan::appliance {

// Call once, before the first line. Without time stamps when the journal adds its own.
void start_log(LogLevel level);

// For the control side of the datapath, which knows no logger.
net::LogSink log_sink();

}  // namespace lagan::appliance
