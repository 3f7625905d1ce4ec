// SPDX-License-Identifier: BSD-3-Clause
// Every counter that the appliance keeps, as JSON (GET /v1/stats).
#pragma once

#include <nlohmann/json.hpp>

#include "appliance/appliance.h"

namespace lagan::appliance {

// Control thread. Values of running lcores may be a moment old.
nlohmann::json collect_statistics(Appliance& appliance);

}  // namespace lagan::appliance
