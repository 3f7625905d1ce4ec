// SPDX-License-Identifier: BSD-3-Clause
// What the control thread does while the appliance runs: punted packets, connections, the node API's calls,
// and the tidying-up of connections that nobody will end.
#pragma once

#include "appliance/appliance.h"

namespace lagan::appliance {

// Until SIGTERM or SIGINT, both of which the caller has blocked in all threads; returns which it was.
int run_control_loop(Appliance& appliance);

// Ends all connections, and goes on until their peers have answered, for a second at most. Poll loops still
// run.
void close_connections(Appliance& appliance);

}  // namespace lagan::appliance
