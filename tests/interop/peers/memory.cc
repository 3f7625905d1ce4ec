// SPDX-License-Identifier: BSD-3-Clause
#include "tests/interop/peers/memory.h"

namespace lagan::interop {

FlatMemory::FlatMemory(memory::RkeyTable& rkeys, uint64_t length)
    : bytes_(length), offer_{.region_id = kRegionId, .length = length} {
    offer_.rkey = rkeys.add({.kind = memory::MemoryRegion::Kind::flat,
                             .access = memory::kAccessRead | memory::kAccessWrite,
                             .region_id = offer_.region_id,
                             .length = length,
                             .base = bytes_.data()});
}

PagedMemory::PagedMemory(const std::filesystem::path& directory, uint64_t length, uint64_t slack_frames)
    : length_(length),
      slack_frames_(slack_frames),
      // FramePool::slack_frames() comes on top of ours: twice the region's size holds it.
      arena_({.directory = directory, .frame_bytes = 2 * length + slack_frames * memory::kPageBytes}) {}

PagedMemory::~PagedMemory() {
    regions_.reset();
    frames_.reset();
    arena_.discard();
}

void PagedMemory::make_region(memory::RkeyTable& rkeys, rte_rcu_qsbr* rcu) {
    frames_ = std::make_unique<memory::FramePool>(arena_.frames(), arena_.frame_meta());
    regions_ = std::make_unique<memory::RegionTable>(arena_, *frames_, rkeys, rcu, slack_frames_);
    const memory::Region& region = regions_->create("peer", length_, 0, false);
    offer_ = {.region_id = region.id, .rkey = region.data_rkey, .length = region.size_bytes};
}

}  // namespace lagan::interop
