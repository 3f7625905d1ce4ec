// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/recovery/checkpoint.h"

#include <tbb/parallel_pipeline.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <vector>

#include "mgmt/recovery/drain.h"

namespace lagan::recovery {

using baseline::CommitResult;
using baseline::ErrorKind;
using baseline::StoreError;
using memory::RegionTable;
using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

namespace {

constexpr int kCommitAttempts = 5;

uint64_t now_us() {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(now).count());
}

// Given up unless it is said to be durable.
class RunningCut {
  public:
    RunningCut(const Memory& memory, memory::Region& region)
        : regions_(memory.regions),
          region_(region),
          cut_(regions_.begin_cut(region, memory.frames_in_flight)) {}
    ~RunningCut() { regions_.end_cut(region_, end_); }
    RunningCut(const RunningCut&) = delete;
    RunningCut& operator=(const RunningCut&) = delete;

    memory::Cut& cut() { return cut_; }
    void set_durable() { end_ = RegionTable::CutEnd::durable; }

  private:
    RegionTable& regions_;
    memory::Region& region_;
    memory::Cut& cut_;
    RegionTable::CutEnd end_ = RegionTable::CutEnd::given_up;
};

void stop_if_cancelled(const Progress& progress) {
    if (progress.cancel.stop_requested())
        throw CheckpointGivenUp(CheckpointGivenUp::Why::cancelled, "the checkpoint was cancelled");
}

void stop_if_broken(const memory::Cut& cut) {
    if (cut.broken())
        throw CheckpointGivenUp(
            CheckpointGivenUp::Why::no_room,
            "the region was stored to faster than it could be written: there was no memory left to "
            "keep old pages in (a faster store, or more unreserved memory, helps)");
}

// Waits until `bytes` may have been written.
void keep_to_rate(uint64_t bytes_per_s, uint64_t bytes, Clock::time_point begin, const Progress& progress) {
    if (bytes_per_s == 0) return;
    const auto due = begin + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(
                                 static_cast<double>(bytes) / static_cast<double>(bytes_per_s)));
    if (const auto wait = due - Clock::now(); wait > Clock::duration::zero())
        baseline::sleep_for(wait, progress.cancel.get_token());
    stop_if_cancelled(progress);
}

std::vector<baseline::SegmentRef> write_pages(const Memory& memory, const memory::Region& region,
                                              memory::Cut& cut, baseline::BaselineWriter& writer,
                                              uint64_t bytes_per_s, Progress& progress) {
    Drain drain(memory, region, cut);
    std::vector<baseline::SegmentRef> segments;
    const auto begin = Clock::now();
    uint64_t bytes_begun = 0;
    const auto read = [&](tbb::flow_control& flow) -> Drain::Batch* {
        stop_if_cancelled(progress);
        stop_if_broken(cut);
        keep_to_rate(bytes_per_s, bytes_begun, begin, progress);
        Drain::Batch* batch = drain.fill();
        if (batch == nullptr) {
            flow.stop();
            return nullptr;
        }
        bytes_begun += batch->pages.size() * memory::kPageBytes;
        return batch;
    };
    const auto write = [&](Drain::Batch* batch) {
        drain.verify(*batch);
        stop_if_cancelled(progress);
        const baseline::SegmentRef segment = writer.write_segment(batch->pages);
        progress.pages_done += batch->pages.size();
        progress.bytes_written += uint64_t{segment.data_pages} * memory::kPageBytes;
        drain.release(*batch);
        return segment;
    };
    // In the order of their pages, so that what a baseline looks like does not depend on who was faster.
    const auto collect = [&](const baseline::SegmentRef& segment) { segments.push_back(segment); };
    tbb::parallel_pipeline(
        drain.tokens(),
        tbb::make_filter<void, Drain::Batch*>(tbb::filter_mode::serial_in_order, read) &
            tbb::make_filter<Drain::Batch*, baseline::SegmentRef>(tbb::filter_mode::parallel, write) &
            tbb::make_filter<baseline::SegmentRef, void>(tbb::filter_mode::serial_in_order, collect));
    return segments;
}

CommitResult commit(baseline::BaselineWriter& writer, const std::vector<baseline::SegmentRef>& segments,
                    const Progress& progress) {
    for (int attempt = 1;; ++attempt) {
        try {
            return writer.commit(segments, progress.cut_number, progress.cut_time_us);
        } catch (const StoreError& error) {
            if (error.kind() != ErrorKind::unavailable || attempt == kCommitAttempts) throw;
            stop_if_cancelled(progress);
            baseline::sleep_for(attempt * 100ms, progress.cancel.get_token());
        }
    }
}

}  // namespace

CommitResult make_checkpoint(const Memory& memory, memory::Region& region, baseline::BaselineWriter& writer,
                             uint64_t bytes_per_s, Progress& progress) {
    std::optional<CommitResult> result;
    try {
        RunningCut running(memory, region);
        progress.cut_number = region.dirty->cut_number();
        progress.cut_time_us = now_us();
        progress.pages = region.dirty->drain().count();
        const auto segments = write_pages(memory, region, running.cut(), writer, bytes_per_s, progress);
        stop_if_broken(running.cut());
        if (progress.pages_done != progress.pages)
            throw std::logic_error("a checkpoint has not written all pages of its cut");
        result = commit(writer, segments, progress);
        running.set_durable();
    } catch (const StoreError&) {
        writer.give_up();
        stop_if_cancelled(progress);  // that is why
        throw;
    } catch (...) {
        writer.give_up();
        throw;
    }
    return *result;
}

}  // namespace lagan::recovery
