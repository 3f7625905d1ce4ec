// SPDX-License-Identifier: BSD-3-Clause
// Executes the capsules that clients send (capsule.h).
// lagan: hot-path
#pragma once

#include "datapath/engine.h"

namespace lagan {

// Goes on with the QP's oldest capsule, and with those behind it, for about `budget` pages; answers each that
// is done. Returns whether it got anywhere. The owner lcore, inside its RCU read-side section.
bool serve_capsules(Engine& engine, Qp& qp, uint32_t budget);

}  // namespace lagan
