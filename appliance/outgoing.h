// SPDX-License-Identifier: BSD-3-Clause
// Connections that this appliance opens to others, for rebuilds and probes.
#pragma once

#include "mgmt/recovery/source_link.h"

namespace lagan::appliance {

struct Appliance;

// For any thread but the control thread. Out of the port whose network the other appliance is in. The
// appliance outlives what is made with it.
recovery::Connect outgoing_connections(Appliance& appliance);

}  // namespace lagan::appliance
