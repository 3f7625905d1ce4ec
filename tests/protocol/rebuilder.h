// SPDX-License-Identifier: BSD-3-Clause
// Stands in for whoever rebuilds a region: knows what its pages are elsewhere and settles them, what is asked
// for first, when it is told to.
#pragma once

#include <deque>

#include "datapath/roce/crc32.h"
#include "tests/protocol/model.h"
#include "tests/support/loopback.h"

namespace lagan::test {

class Rebuilder {
  public:
    using Kind = memory::Settlement::Kind;

    // A region all of whose pages are pending. `content`: of each page; one of zeros is absent there.
    Rebuilder(Loopback& link, Bytes content)
        : region(
              link.regions->create({.name = "rebuilding", .size_bytes = content.size(), .rebuilding = true})),
          content_(std::move(content)),
          link_(link) {}

    // False: it was not pending any more.
    bool settle(uint64_t page) {
        const uint8_t* bytes = &content_[page * memory::kPageBytes];
        if (std::all_of(bytes, bytes + memory::kPageBytes, [](uint8_t byte) { return byte == 0; }))
            return settle_as(page, {.kind = Kind::absent});
        memory::FramePool& frames = *link_.frames;
        const memory::FrameIndex frame = frames.allocate();
        BOOST_REQUIRE(frame != memory::kNoFrame);
        std::memcpy(frames.data(frame), bytes, memory::kPageBytes);
        memory::FrameMeta& meta = frames.meta(frame);
        meta.page_crc = roce::crc32_raw(0, bytes, memory::kPageBytes);
        for (uint32_t block = 0; block < memory::kBlocksPerPage; block++)
            meta.block_crc[block] =
                roce::crc32_raw(0, bytes + block * memory::kBlockBytes, memory::kBlockBytes);
        if (settle_as(page, {Kind::frame, frame})) return true;
        frames.release(frame);
        return false;
    }
    bool settle_as(uint64_t page, const memory::Settlement& content) {
        return memory::settle_page(region, *link_.frames, link_.regions->budget(), page, content, false) ==
               memory::PublishResult::published;
    }
    // Pages that were asked for since the last call.
    std::vector<uint64_t> wanted() {
        std::vector<uint64_t> pages(64);
        pages.resize(region.wanted->take(pages));
        return pages;
    }
    // A bit of the work, at random: of what is asked for sooner than of the rest.
    void work(std::mt19937_64& random) {
        for (const uint64_t page : wanted())
            asked_.push_back(page);
        if (!asked_.empty() && random() % 8 == 0) {
            settle(asked_.front());
            asked_.pop_front();
        }
        if (random() % 64 == 0) settle(random() % region.page_count);
    }
    void finish() {
        for (uint64_t page = 0; page < region.page_count; page++)
            settle(page);
    }

    memory::Region& region;

  private:
    Bytes content_;
    Loopback& link_;
    std::deque<uint64_t> asked_;
};

}  // namespace lagan::test
