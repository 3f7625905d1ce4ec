// SPDX-License-Identifier: BSD-3-Clause
// One checkpoint of one region: cut, drain, commit. The region goes on being read and stored to all the
// while; the baseline gets every page as it was at the cut.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <stop_token>

#include "datapath/memory/region_table.h"
#include "mgmt/baseline/baseline_writer.h"
#include "mgmt/baseline/interruptible_store.h"

struct rte_rcu_qsbr;

namespace lagan::recovery {

// What checkpoints need of the appliance. All outlive them.
struct Memory {
    memory::RegionTable& regions;
    memory::FramePool& frames;
    rte_rcu_qsbr* rcu;
    unsigned rcu_id;            // this thread's place among RCU's readers, used by nobody else
    uint32_t frames_in_flight;  // that a checkpoint holds at once
    std::function<void(const memory::Region&, uint64_t page)> damaged;  // a frame failed its CRC; any thread
};

// Written by the checkpoint, read by whoever shows it; `cancel` the other way round.
struct Progress {
    std::atomic<uint64_t> cut_number{0};
    std::atomic<uint64_t> cut_time_us{0};
    std::atomic<uint64_t> pages{0};  // that were dirty at the cut
    std::atomic<uint64_t> pages_done{0};
    std::atomic<uint64_t> bytes_written{0};
    std::stop_source cancel;
};

// The store of a checkpoint or restore, whose calls end when that is cancelled. But for remove(): what a
// cancelled checkpoint has written is still removed.
class JobStore final : public baseline::InterruptibleStore {
  public:
    // Both outlive it.
    JobStore(baseline::ObjectStore& store, const std::stop_source& cancel) : store_(store), cancel_(cancel) {}
    void remove(const std::string& key) override { store_.remove(key); }
    const std::string& where() const override { return store_.where(); }

  private:
    std::stop_token token() const override { return cancel_.get_token(); }
    baseline::ObjectStore& target() override { return store_; }

    baseline::ObjectStore& store_;
    const std::stop_source& cancel_;
};

// Why a checkpoint ended without one, beside StoreError. All its pages are dirty as before.
struct CheckpointGivenUp : std::runtime_error {
    enum class Why { cancelled, no_room } why;
    CheckpointGivenUp(Why w, const std::string& what) : std::runtime_error(what), why(w) {}
};

// Returns when the cut is durable and its pages are clean, or throws CheckpointGivenUp, StoreError, or
// std::runtime_error when there is no memory. `progress.cancel` is noticed between two calls to the store,
// and during one if `writer` is on a JobStore. `bytes_per_s` 0: as fast as it can be. Uses the calling
// thread's oneTBB arena; the calling thread blocks, and is no online RCU reader.
baseline::CommitResult make_checkpoint(const Memory& memory, memory::Region& region,
                                       baseline::BaselineWriter& writer, uint64_t bytes_per_s,
                                       Progress& progress);

}  // namespace lagan::recovery
