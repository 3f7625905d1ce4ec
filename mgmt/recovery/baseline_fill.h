// SPDX-License-Identifier: BSD-3-Clause
// The pages of a region that is being rebuilt that its baseline has: claimed for the new home, then all of it
// read by the workers, and single pages that somebody waits for. A store that does not answer is asked again
// until it does, or the rebuild is cancelled.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <set>

#include "mgmt/baseline/baseline_reader.h"
#include "mgmt/recovery/settler.h"
#include "mgmt/recovery/wanted_queue.h"

namespace lagan::recovery {

class BaselineFill {
  public:
    // `is_elsewhere`: pages that the baseline has in an older version, if at all. All outlive it. Throws
    // StoreError (refused: it is another region's, or has been claimed by a later home), and RebuildFailed
    // when there is none, or when `end` was stopped.
    BaselineFill(const RebuildMeans& means, const RebuildRequest& request, Settler& settler,
                 WantedQueue& wanted, std::function<bool(uint64_t)> is_elsewhere, const std::stop_source& end,
                 RebuildProgress& progress);

    const baseline::Manifest& manifest() const { return reader_->manifest(); }

    // All of it. Pages that the baseline has lost go to `wanted`, to be had from the source.
    void run();
    // Some of the pages that somebody waits for and that are not elsewhere; any thread, beside run(). False:
    // there was none.
    bool serve_wanted();
    // The baseline should have the page, and cannot be read there.
    bool has_lost(uint64_t page) const;

  private:
    void claim();
    template <typename Work>
    auto until_it_answers(Work&& work);
    void refuse_if_ended() const;
    void lost(const std::vector<baseline::Loss>& losses);
    void put(const baseline::StoredPage& page);
    void fetch(uint64_t page);

    const RebuildMeans& means_;
    const RebuildRequest& request_;
    Settler& settler_;
    WantedQueue& wanted_;
    const std::function<bool(uint64_t)> is_elsewhere_;
    const std::stop_source& end_;
    JobStore store_;
    RebuildProgress& progress_;
    std::unique_ptr<baseline::BaselineReader> reader_;
    mutable std::mutex mutex_;
    std::set<uint64_t> lost_;  // under mutex_
};

}  // namespace lagan::recovery
