// SPDX-License-Identifier: BSD-3-Clause
// The arena: a directory on hugetlbfs, tmpfs or a DAX mount whose files are the appliance's memory. It
// outlives the process: the next lagand opens it and finds the regions (region_walk.h).
//
//   lock                held by the lagand that uses the directory
//   superblock          magic, version, sizes (arena_layout.h)
//   frames              frame_count × 4 KiB
//   frame_meta          frame_count × 64 bytes
//   region-ID.pages     page table, 8 bytes per page
//   region-ID.dirty     dirty list memory (dirty_list.h)
//   region-ID.record    name, size, reserve, epoch, R_Keys
//
// On hugetlbfs every file takes whole huge pages. All memory is committed when a file is made.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "datapath/memory/frame_pool.h"
#include "datapath/memory/mapped_file.h"

namespace lagan::memory {

struct Superblock;

// Control thread.
class Arena {
  public:
    enum class Start {
        empty,  // replace the arena that is there, whatever it holds
        keep,   // open it; make one if there is none
        look,   // open it to be read only: files stay as they are, for a rescue
    };
    struct Options {
        std::filesystem::path directory;  // empty: pick one, see choose_directory()
        uint64_t frame_bytes;  // memory for pages, rounded up to the file system's page; 0: what is there has
        Start start = Start::empty;
        MappedFile::Progress progress = {};  // of the pages' memory
    };

    // Where an arena of this size goes when the configuration says "auto": a hugetlbfs mount with enough free
    // pages, else /dev/shm. The reason is one line for the log. Throws std::runtime_error when neither has
    // the room.
    struct Choice {
        std::filesystem::path directory;
        bool huge_pages;
        std::string reason;
    };
    static Choice choose_directory(uint64_t frame_bytes);

    // The directory, if there is an arena in it that holds regions.
    static std::optional<std::filesystem::path> kept_in(const std::filesystem::path& directory);
    // A directory of this name, in one of the places that choose_directory() chooses from, with an arena that
    // holds regions: to be opened again, wherever a new one would go.
    static std::optional<std::filesystem::path> find_kept(const std::string& directory_name);

    // Takes a lock on the directory (one lagand per arena), makes the directory (mode 0700) and the files, or
    // opens them. Never deletes a file that is not an arena's own, nor one that may hold a region unless
    // `start` is empty. Throws std::runtime_error with what to do; then nothing has changed. Call it before
    // rte_eal_init(): memory is prepared on all processors that the calling thread may use.
    explicit Arena(const Options& options);
    // Unmaps and unlocks; the files stay.
    ~Arena();
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    bool reopened() const { return reopened_; }  // the files were there
    bool read_only() const { return read_only_; }

    std::span<std::byte> frames() const;  // not writable when opened to look
    std::span<FrameMeta> frame_meta();    // then a copy
    const std::filesystem::path& directory() const { return directory_; }
    bool huge_pages() const { return huge_pages_; }

    // Random, made with the arena: region ids mean something together with it only.
    uint64_t instance() const;

    // A region id that this arena has not given out before, from 1 on.
    uint32_t take_region_id();

    // Removes the arena's files (and the directory if nothing else is in it): gives the memory back on a
    // clean stop that no warm restart is to follow. Mappings stay good until they are unmapped.
    void discard() noexcept;

  private:
    bool must_be_made(const Options& options) const;
    void make_files(const Options& options);
    void open_files(const Options& options);

    std::filesystem::path directory_;
    bool huge_pages_ = false;
    bool reopened_ = false;
    bool read_only_ = false;
    FileDescriptor lock_;
    MappedFile superblock_file_;
    Superblock* superblock_ = nullptr;
    MappedFile frames_;
    MappedFile frame_meta_;
    std::vector<FrameMeta> frame_meta_copy_;  // when opened to look
};

}  // namespace lagan::memory
