// SPDX-License-Identifier: BSD-3-Clause
// Tries a connection to the appliance with the kernel's RDMA connection manager, as a program without our
// libraries would, and says what came of it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "client/doctor/findings.h"
#include "client/doctor/reach.h"

namespace lagan::client::doctor {

enum class Outcome : uint8_t {
    established,
    rejected,   // `reason` is the REJ's
    no_device,  // no RDMA device leads there
    no_answer,
    failed,  // a call did, before the appliance was asked; or something unexpected came
};

struct Attempt {
    Outcome outcome;
    unsigned reason = 0;  // docs/protocol.md, Rejections
    std::string text;     // the appliance's own words, or the system's
};

// Ten seconds at most for each step. What was connected is closed again. `grant` may be empty: then the
// appliance refuses, which shows that it is there.
Attempt try_connection(const Target& target, std::span<const uint8_t> grant);

// `grant_file`: empty when none was given.
void check_connection(const Target& target, const Attempt& attempt, const std::filesystem::path& grant_file,
                      Findings& findings);

}  // namespace lagan::client::doctor
