// SPDX-License-Identifier: BSD-3-Clause
// What any machine must have, and what `lagan run` needs of a compute host.
#pragma once

#include <string>

#include "client/doctor/findings.h"
#include "client/doctor/machine.h"

namespace lagan::client::doctor {

// Instructions that the programs were compiled for, and those that make checksums fast.
void check_processor(const Machine& machine, Findings& findings);

// The pager sees a program's faults by userfaultfd.
void check_userfaultfd(const Machine& machine, Findings& findings);

// Both libraries that `lagan run` loads into a program. `preload`: where ours is; empty: nowhere, and then
// `missing` says where it was looked for.
void check_preload(const Machine& machine, const std::string& preload, const std::string& missing,
                   Findings& findings);

// An RDMA device keeps registered memory in place: RLIMIT_MEMLOCK.
void check_memlock(const Machine& machine, Findings& findings);

}  // namespace lagan::client::doctor
