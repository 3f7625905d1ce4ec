// SPDX-License-Identifier: BSD-3-Clause
// An appliance's checkpoints and restores: what mgmt/recovery needs of it, and what the node API asks for.
#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "appliance/control_queue.h"
#include "mgmt/baseline/baseline_reader.h"
#include "mgmt/baseline/deferred_store.h"
#include "mgmt/recovery/checkpointer.h"
#include "mgmt/recovery/restorer.h"

namespace lagan::appliance {

struct Appliance;

class Recovery {
  public:
    // Control thread, with poll loops running. A store that cannot be reached is an alarm, and tried again.
    explicit Recovery(Appliance& appliance);
    ~Recovery();
    Recovery(const Recovery&) = delete;
    Recovery& operator=(const Recovery&) = delete;

    // Any thread, for the end: cancels checkpoints and restores, and ends what waits for the store,
    // baselines() and cuts() too. From then on the store refuses everything.
    void stop();

    // Control thread; they throw ServiceError.
    void start_checkpoint(const std::string& region);
    void cancel_checkpoint(const std::string& region);
    recovery::CheckpointStatus checkpoint(const std::string& region);
    // Every second or so.
    void tick();
    // Before a region is destroyed. Throws ServiceError (busy) while a checkpoint of it runs, which is
    // cancelled then.
    void let_go(const memory::Region& region);

    // Any thread but the control thread: they wait for the store. They throw StoreError.
    std::vector<std::string> baselines() { return baseline::list_regions(store_); }
    std::vector<baseline::CutInfo> cuts(const std::string& region) {
        return baseline::list_cuts(store_, region);
    }

    // Any thread.
    baseline::ObjectStore& store() { return store_; }
    recovery::Restorer& restorer() { return *restorer_; }

  private:
    memory::Region& find(const std::string& name);
    recovery::Restorer::Control restore_control();
    memory::Region& make_region(const recovery::RestoreRequest& request, const baseline::Manifest& manifest);

    Appliance& a_;
    baseline::DeferredStore store_;
    recovery::Workers workers_;
    std::unique_ptr<recovery::Checkpointer> checkpointer_;
    std::unique_ptr<recovery::Restorer> restorer_;
    std::jthread opening_;
};

}  // namespace lagan::appliance
