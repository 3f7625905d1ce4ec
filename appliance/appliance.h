// SPDX-License-Identifier: BSD-3-Clause
// All that a running appliance consists of, and the order in which it comes and goes (appliance.cc, kSteps).
#pragma once

#include <rte_rcu_qsbr.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "appliance/admission.h"
#include "appliance/control_queue.h"
#include "appliance/grant.h"
#include "appliance/lcore_plan.h"
#include "appliance/leases.h"
#include "appliance/node_api.h"
#include "appliance/options.h"
#include "appliance/ports.h"
#include "appliance/rebuilds.h"
#include "appliance/recovery.h"
#include "appliance/sizing.h"
#include "datapath/cm/control_plane.h"
#include "datapath/engine.h"
#include "datapath/memory/arena.h"
#include "datapath/memory/frame_pool.h"
#include "datapath/memory/region_table.h"
#include "datapath/memory/rkey_table.h"
#include "datapath/qp_table.h"
#include "mgmt/http/server.h"
#include "mgmt/recovery/workers.h"

namespace lagan::appliance {

struct RcuDeleter {
    void operator()(rte_rcu_qsbr* rcu) const;
};

// Everything belongs to the control thread. Members that are null are not there yet, or not any more; each
// needs those above it.
struct Appliance {
    explicit Appliance(const Options& wanted) : options(wanted) {}

    const Options options;
    const std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();

    LcorePlan plan{};
    std::vector<unsigned> worker_cpus;  // for what takes long, off the poll lcores
    std::unique_ptr<recovery::EventLog> events;
    EngineOptions engine_options;
    std::unique_ptr<GrantKey> key;
    std::unique_ptr<memory::Arena> arena;
    memory::FoundRegions found;                   // in the arena; until they are adopted
    std::vector<memory::LeftOutRegion> left_out;  // of a rescue
    std::vector<DeviceArguments> devices;         // by port
    bool eal_runs = false;
    std::unique_ptr<rte_rcu_qsbr, RcuDeleter> rcu;
    // The control thread's own: in an arena where checkpoints work, it would wait for the store as they do.
    std::unique_ptr<recovery::Workers> control_workers;
    std::unique_ptr<memory::FramePool> frames;
    std::unique_ptr<memory::RkeyTable> rkeys;
    std::unique_ptr<memory::RegionTable> regions;
    std::unique_ptr<QpTable> qps;
    std::vector<std::unique_ptr<Engine>> engines;  // by poll lcore of the plan
    std::vector<std::unique_ptr<Port>> ports;
    std::atomic<bool> stop_polling{false};  // atomic: lcores read it
    std::unique_ptr<cm::EngineBinding> binding;
    std::unique_ptr<Admission> admission;
    std::unique_ptr<cm::ControlPlane> control_plane;
    std::map<uint32_t, unsigned> temporary_regions;  // by id: rounds of the Tidier without a connection
    uint64_t failed_closed = 0;                      // connections closed because their queue pair had failed
    uint64_t vanished_closed = 0;  // connections closed because the port's other end had gone
    std::unique_ptr<Leases> leases;
    std::unique_ptr<ControlQueue> queue;
    std::unique_ptr<Recovery> recovery;  // null: no store is configured
    std::unique_ptr<Rebuilds> rebuilds;  // null: a rescue
    std::unique_ptr<NodeService> node;
    std::unique_ptr<NodeApi> api;
    std::unique_ptr<http::Server> server;

    bool rescues() const {
        return !options.start.rescue.empty();
    }                                                   // a dead instance's arena, to be read only
    uint32_t queues_of(const PortOptions& port) const;  // no more than there are lcores to poll them

    // As RegionTable::create(), by workers that keep off the poll lcores: a large region's files take a
    // moment to be zeroed.
    memory::Region& create_region(const memory::RegionTable::Spec& spec);
};

// Runs the steps in order; on an exception, undoes those that were done and passes it on.
void start(Appliance& appliance);

// Undoes all steps, last first.
void stop(Appliance& appliance);

}  // namespace lagan::appliance
