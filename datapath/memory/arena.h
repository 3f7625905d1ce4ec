// SPDX-License-Identifier: BSD-3-Clause
// The arena: a directory on hugetlbfs, tmpfs or a DAX mount whose files are the appliance's memory. It
// outlives the process; warm restart (a later version) walks it.
//
//   superblock          magic, version, sizes (arena_layout.h)
//   frames              frame_count × 4 KiB
//   frame_meta          frame_count × 64 bytes
//   region-ID.pages     page table, 8 bytes per page
//   region-ID.dirty     dirty list memory (dirty_list.h)
//   region-ID.record    name, size, reserve, epoch, R_Keys
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace lagan::memory {

// A shared file mapping, unmapped on destruction. Move-only.
class MappedFile {
  public:
    MappedFile() = default;
    // Creates (or opens) `path` with `bytes` rounded up to the file system's page, mode 0600. Throws
    // std::system_error naming the file.
    MappedFile(const std::filesystem::path& path, uint64_t bytes, bool populate);
    ~MappedFile();
    MappedFile(MappedFile&&) noexcept;
    MappedFile& operator=(MappedFile&&) noexcept;
    std::span<std::byte> bytes() const;
};

class Arena {
  public:
    struct Options {
        std::filesystem::path directory;  // empty: pick one, see choose_directory()
        uint64_t frame_bytes;             // memory for pages
        bool reset = true;                // start empty; a later version opens what is there
    };

    // Where an arena of this size goes when the configuration says "auto": a hugetlbfs mount with enough free
    // pages, else /dev/shm. The reason is one line for the log.
    struct Choice {
        std::filesystem::path directory;
        bool huge_pages;
        std::string reason;
    };
    static Choice choose_directory(uint64_t bytes);

    // Takes a lock on the directory (one lagand per arena), makes the files, throws std::runtime_error with
    // what to do.
    explicit Arena(const Options& options);

    std::span<std::byte> frames();
    std::span<std::byte> frame_meta();
    const std::filesystem::path& directory() const;
    bool huge_pages() const;
};

}  // namespace lagan::memory
