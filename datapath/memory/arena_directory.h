// SPDX-License-Identifier: BSD-3-Clause
// The arena's directory: whose it is, what is in it, and how much it takes. Cold.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "datapath/memory/arena_layout.h"
#include "datapath/memory/mapped_file.h"

namespace lagan::memory {

// Makes the directory (mode 0700, not its parents), or checks that an existing one belongs to this user and
// nobody else may write to it. Throws std::runtime_error.
void prepare_directory(const std::filesystem::path& directory);

// One process per arena: an exclusive flock, kept while the descriptor lives. Throws std::runtime_error when
// taken.
FileDescriptor lock_directory(const std::filesystem::path& directory);

enum class Contents {
    empty,    // nothing but, at most, a lock and what a killed start left before its superblock
    arena,    // a superblock of this version
    damaged,  // a superblock whose checksum does not fit
    older,    // a superblock of a version that this one cannot open any more
    newer,    // ... or not yet
    foreign,  // anything else: never touched
};
Contents inspect_directory(const std::filesystem::path& directory);

// What the superblock says, if the contents are an arena.
std::optional<Superblock::Fixed> read_superblock(const std::filesystem::path& directory);

// Ids of the regions whose record is there, good or not.
std::vector<uint32_t> recorded_regions(const std::filesystem::path& directory);

// Files of regions that were being made or destroyed when lagand was killed: they have no record.
void remove_unrecorded(const std::filesystem::path& directory);

// Unlinks the files that an arena consists of, the superblock last; leaves the lock and everything else
// alone.
void remove_arena_files(const std::filesystem::path& directory);

// All that an arena with so many bytes of frames takes, regions without overcommit included, rounding not.
constexpr uint64_t arena_bytes(uint64_t frame_bytes) {
    return frame_bytes + frame_bytes / 64 + frame_bytes / 512 + frame_bytes / 32768;
}

std::string format_bytes(uint64_t bytes);  // "4.0 GiB"

}  // namespace lagan::memory
