// SPDX-License-Identifier: BSD-3-Clause
// `lagan doctor`: says what would stop Lagan from working on this machine, and the commands that mend it.
#pragma once

#include <CLI/App.hpp>
#include <string>
#include <vector>

#include "client/doctor/findings.h"
#include "client/doctor/machine.h"

namespace lagan::client::doctor {

struct DoctorOptions {
    std::string appliance;  // node API's socket; empty: the default one, unless an address is given
    std::string address;    // IP[:PORT] of an appliance elsewhere
    std::string grant;      // file
    std::string config;     // lagand's: this machine is to be an appliance
    std::vector<std::string> settings;  // KEY=VALUE, over the configuration
    bool json = false;
};

inline constexpr int kNothingInTheWay = 0;
inline constexpr int kProblemFound = 1;
inline constexpr int kWrongUsage = 2;

// Adds the subcommand with its options.
CLI::App* add_doctor(CLI::App& app, DoctorOptions& options);

// All checks that fit the options. Throws std::invalid_argument for an address that is none.
Findings examine(const Machine& machine, const DoctorOptions& options);

// Prints what it finds to standard output; returns the exit status.
int run(const DoctorOptions& options);

}  // namespace lagan::client::doctor
