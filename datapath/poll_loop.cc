// SPDX-License-Identifier: BSD-3-Clause
// lagan: hot-path
#include "datapath/poll_loop.h"

#include <rte_cycles.h>

#include "datapath/idle.h"
#include "datapath/roce/requester.h"
#include "datapath/transmit.h"

namespace lagan {

inline constexpr uint32_t kReclaimBudget = 256;  // frames given back per iteration

uint32_t poll_once(Engine& engine) {
    engine.now_tsc = rte_rdtsc();
    uint32_t work = receive_ports(engine);
    work += receive_handovers(engine);
    work += serve_pullers(engine);
    if (!engine.parked.empty()) wake_parked(engine);
    work += serve_active(engine);
    work += engine.serve_control();
    check_all_timers(engine);
    flush_tx(engine);
    if (work == 0) engine.scrub();
    rte_rcu_qsbr_quiescent(engine.shared.rcu, engine.options.index);
    if (engine.retire() != nullptr) engine.retire()->reclaim(kReclaimBudget);

    Counters& counters = engine.counters;
    const uint64_t cycles = rte_rdtsc() - engine.now_tsc;
    counters.polls++;
    if (work != 0) {
        counters.busy_cycles += cycles;
    } else {
        counters.empty_polls++;
        counters.idle_cycles += cycles;
    }
    return work;
}

void run_poll_loop(Engine& engine, const std::atomic<bool>& stop) {
    rte_rcu_qsbr* rcu = engine.shared.rcu;
    const uint32_t id = engine.options.index;
    rte_rcu_qsbr_thread_register(rcu, id);
    rte_rcu_qsbr_thread_online(rcu, id);
    Idler idler(engine);
    while (!stop.load(std::memory_order_relaxed))
        idler.after_poll(poll_once(engine));
    rte_rcu_qsbr_thread_offline(rcu, id);
    rte_rcu_qsbr_thread_unregister(rcu, id);
}

}  // namespace lagan
