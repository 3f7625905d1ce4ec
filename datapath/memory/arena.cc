// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/memory/arena.h"

#include <mntent.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>
#include <new>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <vector>

#include "datapath/memory/arena_directory.h"
#include "datapath/memory/arena_layout.h"
#include "datapath/memory/file_room.h"

namespace lagan::memory {

namespace fs = std::filesystem;

static_assert(sizeof(Superblock::Fixed) == 64 && sizeof(Superblock) == 128);

namespace {

constexpr uint64_t kMaxFrameBytes = 1ULL << 42;     // 2^30 frames
constexpr uint64_t kMaxAutoHugePage = 32ULL << 20;  // bigger pages would be wasted on the small files

// What an arena at `directory` can get: free space and what an earlier one there, to be replaced, holds.
uint64_t room_for_arena(const fs::path& directory) {
    std::error_code error;
    uint64_t bytes = free_bytes(fs::exists(directory, error) ? directory : directory.parent_path());
    if (!fs::is_directory(directory, error) || access(directory.c_str(), R_OK | X_OK) != 0 ||
        inspect_directory(directory) != Contents::arena)
        return bytes;
    for (const char* name : {kFramesFile, kFrameMetaFile}) {
        const uint64_t size = fs::file_size(directory / name, error);
        if (!error) bytes += size;
    }
    return bytes;
}

std::vector<fs::path> huge_page_mounts() {
    std::vector<fs::path> mounts;
    const std::unique_ptr<FILE, int (*)(FILE*)> file(setmntent("/proc/mounts", "r"), endmntent);
    mntent entry{};
    std::array<char, 4096> buffer;
    while (file != nullptr &&
           getmntent_r(file.get(), &entry, buffer.data(), static_cast<int>(buffer.size())) != nullptr)
        if (std::string_view(entry.mnt_type) == "hugetlbfs" && access(entry.mnt_dir, W_OK | X_OK) == 0)
            mounts.emplace_back(entry.mnt_dir);
    return mounts;
}

void check_contents(const fs::path& directory, bool reset) {
    switch (inspect_directory(directory)) {
        case Contents::empty:
            return;
        case Contents::arena:
            if (!reset)
                throw std::runtime_error("arena: " + directory.string() + " holds an arena and reset is off");
            return;
        case Contents::foreign:
            throw std::runtime_error(
                "arena: " + directory.string() +
                " holds files but no Lagan superblock; nothing was touched, name an empty directory "
                "or one that does not exist yet");
    }
}

}  // namespace

Arena::Choice Arena::choose_directory(uint64_t frame_bytes) {
    const uint64_t need = arena_bytes(std::min(frame_bytes, kMaxFrameBytes));
    std::string refused;
    for (const fs::path& mount : huge_page_mounts()) {
        const uint64_t page = huge_page_bytes(mount);
        if (page == 0 || page > kMaxAutoHugePage) continue;
        const uint64_t room = room_for_arena(mount / "lagan");
        if (room >= need + 8 * page)
            return {mount / "lagan", true,
                    "huge pages: " + mount.string() + " has " + format_bytes(room) + " free"};
        refused += mount.string() + " has " + format_bytes(room) + " free; ";
    }
    if (refused.empty()) refused = "there is no hugetlbfs mount to write to; ";
    const fs::path shm = "/dev/shm/lagan";
    const uint64_t room = room_for_arena(shm);
    if (room >= need)
        return {shm, false,
                "no huge pages (" + refused + "need " + format_bytes(need) + "): tmpfs, 4 KiB pages"};
    throw std::runtime_error("arena: no room for " + format_bytes(need) + ": " + refused + "/dev/shm has " +
                             format_bytes(room) +
                             "; raise vm.nr_hugepages, name a directory, or configure less memory");
}

Arena::Arena(const Options& options)
    : directory_(options.directory.empty() ? choose_directory(options.frame_bytes).directory
                                           : options.directory) {
    if (options.frame_bytes == 0 || options.frame_bytes > kMaxFrameBytes)
        throw std::runtime_error("arena: " + std::to_string(options.frame_bytes) +
                                 " bytes of memory, not 1 to 4 TiB");
    prepare_directory(directory_);
    lock_ = lock_directory(directory_);
    check_contents(directory_, options.reset);
    remove_arena_files(directory_);
    try {
        make_files(options.frame_bytes);
    } catch (...) {
        discard();
        throw;
    }
}

Arena::~Arena() = default;

void Arena::make_files(uint64_t frame_bytes) {
    const uint64_t huge = huge_page_bytes(directory_);
    huge_pages_ = huge != 0;
    const uint64_t unit = huge_pages_ ? huge : kPageBytes;
    const uint64_t frames_bytes = (frame_bytes + unit - 1) / unit * unit;
    const uint64_t frame_count = frames_bytes / kPageBytes;
    const uint64_t meta_bytes = (frame_count * sizeof(FrameMeta) + unit - 1) / unit * unit;
    if (const uint64_t room = obtainable_bytes(directory_); frames_bytes + meta_bytes + unit > room)
        throw std::runtime_error("arena: " + directory_.string() + " has room for " + format_bytes(room) +
                                 ", " + format_bytes(frames_bytes + meta_bytes + unit) + " are needed: " +
                                 (huge_pages_ ? "raise vm.nr_hugepages" : "enlarge the file system") +
                                 " or configure less memory");

    // The superblock first: from then on a start that dies leaves a directory that the next one knows for its
    // own.
    const fs::path path = directory_ / kSuperblockFile;
    const fs::path path_new = directory_ / (std::string(kSuperblockFile) + kNewSuffix);
    superblock_file_ = MappedFile(path_new, sizeof(Superblock));
    superblock_ = new (superblock_file_.bytes().data()) Superblock{};
    superblock_->next_region_id.store(1);
    Superblock::Fixed& fixed = superblock_->fixed;
    fixed.magic = kSuperblockMagic;
    fixed.version = kArenaVersion;
    fixed.page_bytes = kPageBytes;
    fixed.frame_count = frame_count;
    fixed.frame_meta_bytes = sizeof(FrameMeta);
    fixed.frames_file_bytes = frames_bytes;
    fixed.frame_meta_file_bytes = meta_bytes;
    if (getrandom(&fixed.instance, sizeof fixed.instance, 0) != sizeof fixed.instance)
        throw std::system_error(errno, std::generic_category(), "getrandom for the arena");
    fixed.crc = layout_crc(fixed);
    fs::rename(path_new, path);

    frames_ = MappedFile(directory_ / kFramesFile, frames_bytes);
    frame_meta_ = MappedFile(directory_ / kFrameMetaFile, meta_bytes);
}

std::span<FrameMeta> Arena::frame_meta() {
    return {reinterpret_cast<FrameMeta*>(frame_meta_.bytes().data()), frames_.bytes().size() / kPageBytes};
}

uint64_t Arena::instance() const {
    return superblock_->fixed.instance;
}

uint32_t Arena::take_region_id() {
    const uint32_t id = superblock_->next_region_id.load();
    if (id == 0)
        throw std::runtime_error("arena: all 2^32 - 1 region ids are used up; restart with an empty arena");
    superblock_->next_region_id.store(id + 1);
    return id;
}

void Arena::discard() noexcept {
    try {
        remove_arena_files(directory_);
    } catch (const std::exception&) {
        return;  // what cannot be removed stays for the next start to replace
    }
    std::error_code ignored;
    fs::remove(directory_ / kLockFile, ignored);
    fs::remove(directory_, ignored);
}

}  // namespace lagan::memory
