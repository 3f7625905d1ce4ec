// SPDX-License-Identifier: BSD-3-Clause
// Which appliance holds a chunk, and where. One appliance holds them all for now; a region that spans several
// changes this map, and nothing behind it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "client/fabric.h"

namespace lagan::client {

class ChunkMap {
  public:
    static constexpr uint64_t kChunkBytes = 2ULL << 20;

    struct Chunk {
        uint32_t appliance;
        uint32_t rkey;
        uint64_t base;  // offset of its first byte under that R_Key
    };

    explicit ChunkMap(const RegionInfo& region) : size_bytes_(region.size_bytes) {
        for (uint64_t base = 0; base < size_bytes_; base += kChunkBytes)
            chunks_.push_back({.appliance = 0, .rkey = region.data_rkey, .base = base});
    }

    uint64_t size_bytes() const { return size_bytes_; }

    struct Extent {
        uint32_t appliance;
        uint32_t rkey;
        uint64_t remote_offset;
        uint32_t bytes;
    };
    // The longest beginning of [offset, offset + bytes) that lies in one piece at one appliance.
    Extent first_extent(uint64_t offset, uint32_t bytes) const {
        uint64_t index = offset / kChunkBytes;
        const Chunk& first = chunks_[index];
        uint64_t end = (index + 1) * kChunkBytes;
        while (end < offset + bytes && follows(chunks_[index], chunks_[index + 1])) {
            index++;
            end += kChunkBytes;
        }
        return {.appliance = first.appliance,
                .rkey = first.rkey,
                .remote_offset = first.base + offset % kChunkBytes,
                .bytes = static_cast<uint32_t>(std::min<uint64_t>(end, offset + bytes) - offset)};
    }

  private:
    static bool follows(const Chunk& a, const Chunk& b) {
        return a.appliance == b.appliance && a.rkey == b.rkey && b.base == a.base + kChunkBytes;
    }

    uint64_t size_bytes_;
    std::vector<Chunk> chunks_;
};

}  // namespace lagan::client
