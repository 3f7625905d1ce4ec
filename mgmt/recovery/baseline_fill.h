// SPDX-License-Identifier: BSD-3-Clause
// The pages of a region that is being rebuilt that its baseline has: claimed for the new home, then all of it
// read by the workers, and single pages that somebody waits for by a thread of its own. A store that does not
// answer is asked again until it does, or the rebuild is cancelled.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "mgmt/baseline/baseline_reader.h"
#include "mgmt/baseline/claim.h"
#include "mgmt/recovery/settler.h"
#include "mgmt/recovery/source_lists.h"
#include "mgmt/recovery/wanted_queue.h"

namespace lagan::recovery {

class BaselineFill {
  public:
    // Claims it. `is_elsewhere`: pages that the baseline has in an older version, if at all. `source_serves`:
    // pages that clients wait for are somebody else's business at the moment. All outlive it. A newest
    // manifest that cannot be read is told, and an older one taken. Throws StoreError (refused: it is another
    // region's, or has been claimed by a later home), and RebuildFailed when there is none, or when `end` was
    // stopped.
    BaselineFill(const RebuildMeans& means, const RebuildRequest& request, Settler& settler,
                 WantedQueue& wanted, std::function<bool(uint64_t)> is_elsewhere,
                 const std::atomic<bool>& source_serves, const std::stop_source& end,
                 RebuildProgress& progress);

    const baseline::Manifest& manifest() const { return reader_->manifest(); }

    // Why it is of no use beside a source that says this of itself; empty: it is what the source has made.
    std::string mismatch(const SourceHeader& source) const;
    // Instead of run(): what it has is not known to be what the region has. All pages that it names or that
    // are here are dirty from now on.
    void disown();

    // All of it. Pages that it has lost go to `wanted`, to be had from the source. Those that somebody waits
    // for are served beside, and on until this object goes.
    void run();
    // The baseline should have the page, and cannot be read there.
    bool has_lost(uint64_t page) const;

  private:
    baseline::Claim claim(bool over_damaged);
    baseline::Claim claim_newest();
    void require_cut();
    template <typename Work>
    auto until_it_answers(Work&& work);
    void refuse_if_ended() const;
    void lost(const std::vector<baseline::Loss>& losses);
    void put(const baseline::StoredPage& page);
    bool fetch(uint64_t page);
    void serve_wanted(const std::stop_token& stop);

    const RebuildMeans& means_;
    const RebuildRequest& request_;
    Settler& settler_;
    WantedQueue& wanted_;
    const std::function<bool(uint64_t)> is_elsewhere_;
    const std::atomic<bool>& source_serves_;
    const std::stop_source& end_;
    JobStore store_;
    RebuildProgress& progress_;
    std::unique_ptr<baseline::BaselineReader> reader_;
    mutable std::mutex mutex_;
    std::set<uint64_t> lost_;  // under mutex_
    std::jthread server_;      // last: it uses all of the above
};

}  // namespace lagan::recovery
