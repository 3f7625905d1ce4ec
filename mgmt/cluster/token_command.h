// SPDX-License-Identifier: BSD-3-Clause
// "lagan-mgmtd token": straight on the directory, for whoever may read its file or has etcd's certificate.
// The first token is made so.
#pragma once

#include "mgmt/cluster/command_line.h"
#include "mgmt/cluster/options.h"

namespace lagan::cluster {

// The exit status. Throws std::runtime_error.
int run_token_command(const ManagerOptions& options, const TokenCommand& command);

}  // namespace lagan::cluster
