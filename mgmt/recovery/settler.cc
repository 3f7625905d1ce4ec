// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/recovery/settler.h"

#include <algorithm>
#include <cstring>
#include <thread>

#include "datapath/roce/crc32.h"

namespace lagan::recovery {

using memory::FrameMeta;
using memory::kBlockBytes;
using memory::kBlocksPerPage;
using memory::PublishResult;
using memory::Settlement;

namespace {

constexpr int kAttempts = 1000;
constexpr std::chrono::milliseconds kPause{1};
constexpr const char* kNoRoom =
    "there is no memory left for the region's pages: give it a larger reserve, or another appliance";

void fill_crcs(FrameMeta& meta, const std::byte* data) {
    uint32_t page = 0;
    for (uint32_t block = 0; block < kBlocksPerPage; ++block) {
        meta.block_crc[block] = roce::crc32_raw(0, data + block * kBlockBytes, kBlockBytes);
        page = roce::crc32_shift(page, kBlockBytes) ^ meta.block_crc[block];
    }
    meta.page_crc = page;
}

// Zeros have the CRC 0, and hardly anything else has.
bool all_zero(const FrameMeta& meta, const std::byte* data) {
    return meta.page_crc == 0 &&
           std::all_of(data, data + memory::kPageBytes, [](std::byte byte) { return byte == std::byte{0}; });
}

}  // namespace

bool Settler::settle(uint64_t page, const Settlement& content, bool dirty) {
    switch (settle_page(region_, memory_.frames, memory_.regions.budget(), page, content, dirty)) {
        case PublishResult::published: {
            if (progress_.first_page_us.load(std::memory_order_relaxed) == 0) note_first_page();
            return true;
        }
        case PublishResult::changed:
            return false;
        case PublishResult::no_frames:
            break;
    }
    throw RebuildFailed(kNoRoom);
}

void Settler::note_first_page() {
    const auto passed = std::chrono::steady_clock::now() - begin_;
    const auto us = std::chrono::duration_cast<std::chrono::microseconds>(passed).count();
    uint64_t none = 0;
    progress_.first_page_us.compare_exchange_strong(none, static_cast<uint64_t>(us));
}

void Settler::put_frame(uint64_t page, memory::FrameIndex frame, bool dirty) {
    memory::FramePool& frames = memory_.frames;
    try {
        fill_crcs(frames.meta(frame), frames.data(frame));
        const bool zero = all_zero(frames.meta(frame), frames.data(frame));
        const Settlement content =
            zero ? Settlement{Settlement::Kind::absent} : Settlement{Settlement::Kind::frame, frame};
        if (settle(page, content, dirty) && !zero) return;
    } catch (...) {
        frames.release(frame);
        throw;
    }
    frames.release(frame);
}

// The last ones may be on their way from the source, or through a retire queue.
memory::FrameIndex Settler::allocate() const {
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
        const memory::FrameIndex frame = memory_.frames.allocate();
        if (frame != memory::kNoFrame) return frame;
        std::this_thread::sleep_for(kPause);
    }
    throw RebuildFailed(kNoRoom);
}

void Settler::put_copy(const baseline::StoredPage& page) {
    if (page.page >= region_.page_count)
        throw RebuildFailed("the baseline has pages beyond the region's end");
    if (!is_pending(page.page)) return;
    if (page.kind == baseline::PageKind::damaged) {
        put_damaged(page.page, false);
        return;
    }
    const memory::FrameIndex frame = allocate();
    std::memcpy(memory_.frames.data(frame), page.data, memory::kPageBytes);
    put_frame(page.page, frame, false);
    ++progress_.pages_from_baseline;
}

void Settler::put_absent(uint64_t page, bool dirty) {
    settle(page, {Settlement::Kind::absent}, dirty);
}

bool Settler::put_damaged(uint64_t page, bool dirty) {
    if (!settle(page, {Settlement::Kind::damaged}, dirty)) return false;
    ++progress_.damaged_pages;
    return true;
}

}  // namespace lagan::recovery
