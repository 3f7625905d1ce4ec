// SPDX-License-Identifier: BSD-3-Clause
// What the arena's small files hold. Little-endian, host order (x86-64); a CRC-32 closes each structure.
#pragma once

#include <isa-l.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

#include "datapath/memory/page.h"

namespace lagan::memory {

inline constexpr uint64_t kSuperblockMagic = 0x31524e4147414c00;  // "\0LAGANR1"
inline constexpr uint64_t kRecordMagic = 0x31474e4147414c00;      // "\0LAGANG1"
inline constexpr uint32_t kArenaVersion = 2;
inline constexpr size_t kMaxRegionName = 63;

struct Superblock {
    struct Fixed {  // written once
        uint64_t magic;
        uint32_t version;
        uint32_t page_bytes;
        uint64_t frame_count;
        uint32_t frame_meta_bytes;  // per frame
        uint32_t reserved;
        uint64_t frames_file_bytes;
        uint64_t frame_meta_file_bytes;
        uint64_t instance;  // random: tells this arena from every other
        uint32_t reserved2;
        uint32_t crc;
    } fixed;
    // Not under the CRC: changes with every region, and a kill between the two would spoil the superblock.
    alignas(64) std::atomic<uint32_t> next_region_id;
};

// Its presence makes a region exist: renamed into place last on creation, unlinked first on destruction.
inline constexpr uint32_t kRecordTemporary = 1;
inline constexpr uint32_t kRecordRestoring = 2;   // not whole yet: dropped at the next start
inline constexpr uint32_t kRecordRebuilding = 4;  // not whole yet: entries may be pending
inline constexpr uint32_t kRecordManaged = 8;     // served while its lease lasts: not before one is there

struct RegionRecord {
    uint64_t magic;
    uint32_t version;
    uint32_t region_id;
    uint64_t size_bytes;
    uint64_t reserve_pages;
    uint64_t epoch;
    uint32_t data_rkey;
    uint32_t dirty_rkey;
    uint64_t uid;
    char name[kMaxRegionName + 1];  // padded with zeros
    uint32_t flags;                 // kRecord...
    uint32_t crc;
};

template <typename T>
uint32_t layout_crc(const T& value) {
    static_assert(std::is_trivially_copyable_v<T> && std::has_unique_object_representations_v<T>);
    static_assert(offsetof(T, crc) + sizeof(value.crc) == sizeof(T), "the CRC comes last");
    return crc32_gzip_refl(0, reinterpret_cast<const unsigned char*>(&value), offsetof(T, crc));
}

// File names in the arena's directory.
inline constexpr const char* kLockFile = "lock";
inline constexpr const char* kSuperblockFile = "superblock";
inline constexpr const char* kFramesFile = "frames";
inline constexpr const char* kFrameMetaFile = "frame_meta";
inline constexpr const char* kNewSuffix = ".new";  // being written, renamed when complete

inline std::string region_file(uint32_t region_id, const char* kind) {
    return "region-" + std::to_string(region_id) + "." + kind;
}

}  // namespace lagan::memory
