// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/idle.h"

#include <rte_cycles.h>
#include <sys/prctl.h>

#include <chrono>
#include <thread>

namespace lagan {

Idler::Idler(Engine& engine) : engine_(engine), spin_cycles_(kSpinUs * engine.tsc_per_us) {
    prctl(PR_SET_TIMERSLACK, 1000UL);  // ns; 50 us by default, which would double kSleepUs
}

void Idler::maybe_sleep() {
    if (idle_since_ == 0) {
        idle_since_ = engine_.now_tsc;
        return;
    }
    if (engine_.now_tsc - idle_since_ < spin_cycles_) return;
    // Asleep we hold no reference that a grace period would have to wait for.
    rte_rcu_qsbr_thread_offline(engine_.shared.rcu, engine_.options.index);
    const uint64_t before = rte_rdtsc();
    std::this_thread::sleep_for(std::chrono::microseconds(kSleepUs));
    rte_rcu_qsbr_thread_online(engine_.shared.rcu, engine_.options.index);
    engine_.counters.sleeps++;
    engine_.counters.idle_cycles += rte_rdtsc() - before;
}

}  // namespace lagan
