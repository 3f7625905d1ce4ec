// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/recovery/restore.h"

#include <fmt/format.h>
#include <tbb/parallel_for.h>

#include <chrono>
#include <cstring>
#include <mutex>

#include "datapath/roce/crc32.h"

namespace lagan::recovery {

using baseline::ErrorKind;
using baseline::Loss;
using baseline::StoredPage;
using baseline::StoreError;
using memory::FrameIndex;
using namespace std::chrono_literals;

namespace {

constexpr int kAttempts = 5;
constexpr size_t kDescribedRanges = 8;

// The reader has compared the page's CRC: what is computed here is of the bytes that were verified.
void fill_frame(memory::FramePool& frames, FrameIndex frame, const StoredPage& page) {
    std::memcpy(frames.data(frame), page.data, memory::kPageBytes);
    memory::FrameMeta& meta = frames.meta(frame);
    for (uint32_t block = 0; block < memory::kBlocksPerPage; ++block)
        meta.block_crc[block] =
            roce::crc32_raw(0, frames.data(frame) + block * memory::kBlockBytes, memory::kBlockBytes);
    meta.page_crc = page.crc;
}

void stop_if_cancelled(const Progress& progress) {
    if (progress.cancel.stop_requested()) throw RestoreFailed("the restore was cancelled", {});
}

class Filling {
  public:
    Filling(const Memory& memory, memory::Region& region, Progress& progress)
        : memory_(memory), region_(region), progress_(progress) {}

    void put(const StoredPage& page) {
        stop_if_cancelled(progress_);
        if (page.page >= region_.page_count)
            throw RestoreFailed("the baseline has pages beyond the region's end", {});
        FrameIndex frame = memory::kNoFrame;
        if (page.kind == baseline::PageKind::data) {
            frame = memory_.frames.allocate();
            if (frame == memory::kNoFrame) no_room();
            fill_frame(memory_.frames, frame, page);
        }
        // Found there already: the store did not answer half-way, and the segment was loaded again.
        switch (memory::install_page(region_, memory_.frames, memory_.regions.budget(), page.page, frame)) {
            case memory::PublishResult::published:
                ++progress_.pages_done;
                damaged_ += frame == memory::kNoFrame ? 1 : 0;
                progress_.bytes_written += frame == memory::kNoFrame ? 0 : memory::kPageBytes;
                return;
            case memory::PublishResult::changed:
                if (frame != memory::kNoFrame) memory_.frames.release(frame);
                return;
            case memory::PublishResult::no_frames:
                if (frame != memory::kNoFrame) memory_.frames.release(frame);
                no_room();
        }
    }
    uint64_t damaged() const { return damaged_; }

  private:
    [[noreturn]] static void no_room() {
        throw RestoreFailed(
            "there is no memory left for the region's pages: give it a larger reserve, or another appliance",
            {});
    }

    const Memory& memory_;
    memory::Region& region_;
    Progress& progress_;
    std::atomic<uint64_t> damaged_{0};
};

std::vector<Loss> load(const baseline::BaselineReader& reader, size_t segment, Filling& filling,
                       const Progress& progress) {
    for (int attempt = 1;; ++attempt) {
        stop_if_cancelled(progress);
        try {
            return reader.load(segment, [&](const StoredPage& page) { filling.put(page); });
        } catch (const StoreError& error) {
            stop_if_cancelled(progress);  // that may be why
            if (error.kind() != ErrorKind::unavailable || attempt == kAttempts) throw;
            baseline::sleep_for(attempt * 200ms, progress.cancel.get_token());
        }
    }
}

}  // namespace

uint64_t restore_pages(const Memory& memory, memory::Region& region, const baseline::BaselineReader& reader,
                       Progress& progress) {
    std::vector<Loss> losses = reader.losses();
    for (size_t segment = 0; segment < reader.segment_count(); ++segment)
        progress.pages += reader.data_pages_of(segment);
    Filling filling(memory, region, progress);
    std::mutex mutex;
    // All of it is looked at even when a part is lost, so that everything that is lost can be named.
    tbb::parallel_for(size_t{0}, reader.segment_count(), [&](size_t segment) {
        std::vector<Loss> lost = load(reader, segment, filling, progress);
        const std::scoped_lock lock(mutex);
        losses.insert(losses.end(), std::make_move_iterator(lost.begin()),
                      std::make_move_iterator(lost.end()));
    });
    if (!losses.empty()) {
        const std::string what = "the baseline is damaged: " + describe(losses);
        throw RestoreFailed(what, std::move(losses));
    }
    return filling.damaged();
}

std::string describe(const std::vector<Loss>& losses) {
    std::string text;
    size_t named = 0, more = 0;
    for (const Loss& loss : losses) {
        std::string pages;
        for (const baseline::PageRange& range : loss.pages) {
            if (named == kDescribedRanges) {
                ++more;
                continue;
            }
            ++named;
            pages += pages.empty() ? "" : ", ";
            pages += range.count == 1 ? fmt::format("{}", range.first)
                                      : fmt::format("{}-{}", range.first, range.first + range.count - 1);
        }
        if (!pages.empty())
            text +=
                fmt::format("{}pages {} ({}: {})", text.empty() ? "" : "; ", pages, loss.object, loss.reason);
    }
    if (more != 0) text += fmt::format(" and {} more ranges", more);
    return text;
}

}  // namespace lagan::recovery
