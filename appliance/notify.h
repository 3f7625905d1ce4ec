// SPDX-License-Identifier: BSD-3-Clause
// The service manager's notification protocol (sd_notify(3)): one datagram to the socket that NOTIFY_SOCKET
// names.
#pragma once

namespace lagan::appliance {

// "READY=1", "STOPPING=1". Does nothing when nobody asked to be told.
void notify_service_manager(const char* state);

}  // namespace lagan::appliance
