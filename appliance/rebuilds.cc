// SPDX-License-Identifier: BSD-3-Clause
#include "appliance/rebuilds.h"

#include <fmt/format.h>

#include <cstddef>

#include "appliance/appliance.h"
#include "appliance/local_node.h"
#include "appliance/outgoing.h"
#include "mgmt/recovery/source_connection.h"

namespace lagan::appliance {

namespace {

using Kind = ServiceError::Kind;

// No checkpoint: it needs no place among RCU's readers, and keeps no frames.
recovery::Memory memory_of(Appliance& a) {
    return {.regions = *a.regions,
            .frames = *a.frames,
            .rcu = a.rcu.get(),
            .rcu_id = RTE_QSBR_THRID_INVALID,
            .frames_in_flight = 0,
            .damaged = {}};
}

}  // namespace

Rebuilds::Rebuilds(Appliance& appliance)
    : a_(appliance),
      connect_(outgoing_connections(appliance)),
      workers_(appliance.worker_cpus),
      rebuilder_(memory_of(appliance), appliance.arena->instance(),
                 appliance.recovery ? &appliance.recovery->store() : nullptr, workers_, *appliance.events,
                 connect_, {.complete = [&appliance](memory::Region& region, uint64_t cut_number) {
                     appliance.queue->run([&] { appliance.regions->complete(region, cut_number); });
                 }}) {}

memory::Region& Rebuilds::make_region(const recovery::RebuildRequest& request) {
    try {
        return a_.create_region({.name = request.region,
                                 .size_bytes = request.size_bytes,
                                 .reserve_bytes = request.reserve_bytes,
                                 .overcommit = request.overcommit,
                                 .rebuilding = true,
                                 .managed = request.managed,
                                 .uid = request.uid,
                                 .epoch = request.epoch});
    } catch (const memory::RegionError& error) {
        throw ServiceError(kind_of(error.kind), error.what());
    }
}

recovery::RebuildStatus Rebuilds::start(const recovery::RebuildRequest& request) {
    if (request.baseline && !a_.recovery)
        throw ServiceError(
            Kind::invalid,
            "this appliance has no store of baselines: set baseline.store in its configuration");
    memory::Region* region = a_.regions->find(request.region);
    if (region == nullptr) {
        region = &make_region(request);
    } else if (region->uid != request.uid || region->epoch != request.epoch ||
               region->size_bytes != request.size_bytes) {
        throw ServiceError(
            Kind::exists,
            fmt::format("there is another region named {} here: uid {:016x}, epoch {}, {} bytes",
                        region->name, region->uid, region->epoch, region->size_bytes));
    }
    if (region->restoring)
        throw ServiceError(Kind::exists,
                           fmt::format("region {} is being restored here from its baseline", region->name));
    if (region->rebuilding) {
        rebuilder_.begin(*region, request);
        if (auto status = rebuilder_.status(request.region)) return *std::move(status);
        throw ServiceError(Kind::unavailable,
                           fmt::format("the rebuild of {} was cancelled as it began", region->name));
    }
    // It is whole, maybe since before this process began.
    const auto status = rebuilder_.status(request.region);
    if (status && status->epoch == request.epoch) return *status;
    return {.region = request.region,
            .uid = request.uid,
            .epoch = request.epoch,
            .state = recovery::RebuildState::done,
            .rolled_back = !request.source};
}

void Rebuilds::let_go(const std::string& region) {
    if (rebuilder_.is_running(region))
        throw ServiceError(
            Kind::exists,
            fmt::format("region {} is being rebuilt: DELETE /v1/rebuilds/{} cancels that", region, region));
}

uint64_t Rebuilds::probe(const recovery::SourceAddress& where, std::chrono::milliseconds patience) const {
    const auto end = std::chrono::steady_clock::now() + patience;
    recovery::SourceConnection source(connect_, where,
                                      [end] { return std::chrono::steady_clock::now() > end; });
    uint64_t heartbeat = 0;
    source.read(source.about().dirty_rkey, offsetof(memory::DirtyMemoryHeader, heartbeat),
                std::as_writable_bytes(std::span(&heartbeat, 1)));
    return heartbeat;
}

}  // namespace lagan::appliance
