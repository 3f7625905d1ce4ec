// SPDX-License-Identifier: BSD-3-Clause
// One engine's poll loop, run to completion on one pinned lcore.
// lagan: hot-path
#pragma once

#include <atomic>

#include "datapath/engine.h"

namespace lagan {

// One iteration: everything that has arrived is answered and leaves. Returns how many packets and other
// pieces of work there were; 0 means idle. The caller's thread is the engine's owner, registered and online
// with its RCU id.
uint32_t poll_once(Engine& engine);

// Polls until `stop` is set, idling by the engine's policy; registers with RCU and leaves it again.
void run_poll_loop(Engine& engine, const std::atomic<bool>& stop);

// Steps of poll_once(). receive.cc, serve.cc
uint32_t receive_ports(Engine& engine);
uint32_t receive_handovers(Engine& engine);
uint32_t serve_active(Engine& engine);
uint32_t serve_pullers(Engine& engine);
void wake_parked(Engine& engine);
void check_all_timers(Engine& engine);

}  // namespace lagan
