// SPDX-License-Identifier: BSD-3-Clause
#include "appliance/recovery.h"

#include <fmt/format.h>

#include "appliance/appliance.h"
#include "appliance/local_node.h"
#include "appliance/log.h"
#include "mgmt/baseline/store_url.h"

namespace lagan::appliance {

namespace {

using Kind = ServiceError::Kind;

recovery::Memory memory_of(Appliance& a) {
    return {
        .regions = *a.regions,
        .frames = *a.frames,
        .rcu = a.rcu.get(),
        .rcu_id = static_cast<unsigned>(a.engines.size()),  // behind the lcores'
        .frames_in_flight = frames_in_flight(cut_frames(a.options, a.frames->capacity())),
        .damaged = [&a](const memory::Region& region, uint64_t page) {
            a.events->add(
                recovery::Severity::alarm, "page_damaged", region.name,
                fmt::format("page {} is damaged: a checkpoint found that its memory does not hold what was "
                            "stored; reads of it are refused until it is stored again",
                            page));
        }};
}

}  // namespace

Recovery::Recovery(Appliance& appliance)
    : a_(appliance), store_(baseline::parse_store_url(a_.options.baseline.store)), workers_(a_.worker_cpus) {
    const BaselineOptions& options = a_.options.baseline;
    checkpointer_ = std::make_unique<recovery::Checkpointer>(
        memory_of(a_), a_.arena->instance(), store_,
        recovery::CheckpointPolicy{.interval_seconds = options.interval_seconds,
                                   .dirty_percent = options.dirty_percent,
                                   .bytes_per_s = options.bytes_per_s},
        workers_, *a_.events);
    restorer_ = std::make_unique<recovery::Restorer>(memory_of(a_), a_.arena->instance(), store_, workers_,
                                                     *a_.events, restore_control());
    // On a thread of its own: a store that hangs must not keep the appliance from serving.
    opening_ = std::jthread([this](const std::stop_token& stop) {
        try {
            store_.open();
            spdlog::info("baseline: {}", store_.where());
        } catch (const baseline::StoreError& error) {
            if (stop.stop_requested()) return;
            a_.events->add(
                recovery::Severity::alarm, "baseline_unreachable", "",
                fmt::format("{}; regions are served, and checkpoints fail until it is there", error.what()));
        }
    });
}

Recovery::~Recovery() {
    stop();  // before the threads are joined
}

void Recovery::stop() {
    checkpointer_->cancel_all();
    restorer_->cancel_all();
    opening_.request_stop();
    store_.stop();
}

memory::Region& Recovery::find(const std::string& name) {
    memory::Region* region = a_.regions->find(name);
    if (region == nullptr)
        throw ServiceError(Kind::not_found, fmt::format("there is no region \"{}\"", name));
    if (region->restoring)
        throw ServiceError(Kind::busy,
                           fmt::format("region {} is being restored: see /v1/restores/{}", name, name));
    return *region;
}

void Recovery::start_checkpoint(const std::string& region) {
    memory::Region& found = find(region);
    if (found.rebuilding)
        throw ServiceError(Kind::busy,
                           fmt::format("region {} is being rebuilt here: it is not whole yet", region));
    if (!checkpointer_->request(found))
        throw ServiceError(Kind::exists,
                           fmt::format("a checkpoint of region {} is under way already", region));
}

void Recovery::cancel_checkpoint(const std::string& region) {
    checkpointer_->cancel(find(region).id);
}

recovery::CheckpointStatus Recovery::checkpoint(const std::string& region) {
    return checkpointer_->status(find(region).id);
}

void Recovery::tick() {
    checkpointer_->request_due(a_.regions->list());
}

void Recovery::let_go(const memory::Region& region) {
    if (region.restoring)
        throw ServiceError(Kind::exists,
                           fmt::format("region {} is being restored: DELETE /v1/restores/{} cancels that",
                                       region.name, region.name));
    if (checkpointer_->busy(region.id)) {
        checkpointer_->cancel(region.id);
        throw ServiceError(
            Kind::busy, fmt::format("a checkpoint of region {} is being cancelled; try again", region.name));
    }
    checkpointer_->forget(region.id);
}

memory::Region& Recovery::make_region(const recovery::RestoreRequest& request,
                                      const baseline::Manifest& manifest) {
    return a_.create_region({.name = request.region,
                             .size_bytes = manifest.region.size_bytes,
                             .reserve_bytes = request.reserve_bytes,
                             .overcommit = request.overcommit,
                             .restoring = true,
                             .uid = manifest.region.uid,
                             // Whoever had the region before may not write to its baseline any more.
                             .epoch = manifest.region.epoch + 1});
}

recovery::Restorer::Control Recovery::restore_control() {
    return {.make_region = [this](const recovery::RestoreRequest& request,
                                  const baseline::Manifest& manifest) -> memory::Region& {
                return *a_.queue->run([&] { return &make_region(request, manifest); });
            },
            .complete =
                [this](memory::Region& region, uint64_t cut_number) {
                    a_.queue->run([&] { a_.regions->complete(region, cut_number); });
                },
            .drop = [this](memory::Region& region) { a_.queue->run([&] { a_.regions->destroy(region); }); }};
}

}  // namespace lagan::appliance
