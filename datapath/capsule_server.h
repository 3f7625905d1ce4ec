// SPDX-License-Identifier: BSD-3-Clause
// Executes the capsules that clients send (capsule.h).
// lagan: hot-path
#pragma once

#include "datapath/engine.h"

namespace lagan {

// Goes on with the QP's oldest capsule, and with those behind it, for about `budget` pages; answers each that
// is done. Returns whether it got anywhere. The owner lcore, inside its RCU read-side section.
bool serve_capsules(Engine& engine, Qp& qp, uint32_t budget);

// Whether serve_capsules() may get anywhere now: there is one, and it is not behind a READ that waits for
// pages.
bool capsules_can_go_on(Qp& qp);

}  // namespace lagan
