// SPDX-License-Identifier: BSD-3-Clause
// lagan: hot-path
#include "datapath/frame_check.h"

#include "datapath/roce/crc32.h"

namespace lagan {

using memory::kBlockBytes;

bool frame_is_intact(memory::FramePool& frames, memory::FrameIndex frame) {
    const memory::FrameMeta& meta = frames.meta(frame);
    const std::byte* data = frames.data(frame);
    uint32_t page_crc = 0;
    for (uint32_t block = 0; block < memory::kBlocksPerPage; block++) {
        if (roce::crc32_raw(0, data + block * kBlockBytes, kBlockBytes) != meta.block_crc[block])
            return false;
        page_crc = roce::crc32_shift(page_crc, kBlockBytes) ^ meta.block_crc[block];
    }
    return page_crc == meta.page_crc;  // responses are made of either
}

}  // namespace lagan
