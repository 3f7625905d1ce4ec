// SPDX-License-Identifier: BSD-3-Clause
// What would keep lagand from starting, or from being fast, with a configuration on this machine.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "appliance/lcore_plan.h"
#include "appliance/options.h"
#include "client/doctor/findings.h"
#include "client/doctor/machine.h"

namespace lagan::client::doctor {

// Reads the configuration as lagand does; nothing if it is wrong.
std::optional<appliance::Options> check_configuration(const std::filesystem::path& file,
                                                      const std::vector<std::string>& settings,
                                                      Findings& findings);

// Whether a lagand with this configuration runs already: what it holds looks taken to the other checks.
bool check_running(const appliance::Options& options, Findings& findings);

void check_lcores(const appliance::Options& options, const std::vector<appliance::Cpu>& cpus,
                  Findings& findings);

// Room for the arena and for DPDK.
void check_memory(const appliance::Options& options, Findings& findings);

// Speed only: pages of 2 MiB for the arena, and the file system that they come from.
void check_huge_pages(const Machine& machine, const appliance::Options& options, Findings& findings);

// The key's directory.
void check_state_dir(const Machine& machine, const appliance::Options& options, Findings& findings);

// One port of the configuration: its device, its driver, its MTU. (port_checks.cc)
void check_port(const Machine& machine, const appliance::PortOptions& port, Findings& findings);

}  // namespace lagan::client::doctor
