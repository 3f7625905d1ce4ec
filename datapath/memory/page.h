// SPDX-License-Identifier: BSD-3-Clause
// Sizes that everything agrees on.
#pragma once

#include <cstdint>

namespace lagan::memory {

inline constexpr uint32_t kPageBytes = 4096;
inline constexpr uint32_t kPageShift = 12;
inline constexpr uint32_t kBlockBytes = 1024;  // unit of stored CRCs
inline constexpr uint32_t kBlocksPerPage = kPageBytes / kBlockBytes;
inline constexpr uint64_t kChunkBytes = 2U << 20;  // default chunk
inline constexpr uint64_t kMaxRegionPages = 1ULL << 32;

using FrameIndex = uint32_t;
inline constexpr FrameIndex kNoFrame = 0xffffffff;

}  // namespace lagan::memory
