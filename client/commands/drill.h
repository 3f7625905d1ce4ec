// SPDX-License-Identifier: BSD-3-Clause
// `lagan failover test`: a scratch region changes its home, and it is seen what that takes.
#pragma once

#include "client/commands/command.h"

namespace lagan::client::commands {

// Makes a region, moves its home elsewhere by a drill, checks it, and deletes it, also after Ctrl-C. With a
// way to the appliances (options.way), a client stores known pages and goes on all the while.
int run_drill(Server& server, const Options& options);

}  // namespace lagan::client::commands
