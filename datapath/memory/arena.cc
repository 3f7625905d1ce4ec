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

constexpr const char* kOrStartEmpty =
    "; start lagand once with --empty-arena to give up what it holds and begin anew";

// Whether there is an arena to open; throws for what can be neither opened nor replaced.
bool check_contents(const fs::path& directory, Arena::Start start) {
    const Contents contents = inspect_directory(directory);
    const std::string arena = "arena: " + directory.string();
    if (contents == Contents::foreign)
        throw std::runtime_error(arena +
                                 " holds files but no Lagan superblock; nothing was touched, name an empty "
                                 "directory or one that does not exist yet");
    if (start == Arena::Start::empty) return false;
    switch (contents) {
        case Contents::damaged:
            throw std::runtime_error(arena + ": the superblock is damaged (its checksum does not fit)" +
                                     kOrStartEmpty);
        case Contents::older:
            throw std::runtime_error(
                arena + " was made by an older lagand, whose arenas this one cannot open" + kOrStartEmpty);
        case Contents::newer:
            throw std::runtime_error(arena + " was made by a newer lagand: start that one" + kOrStartEmpty);
        default:
            return contents == Contents::arena;
    }
}

uint64_t rounded_up(uint64_t bytes, uint64_t unit) {
    return (bytes + unit - 1) / unit * unit;
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

std::optional<fs::path> Arena::kept_in(const fs::path& directory) {
    std::error_code error;
    if (!fs::is_directory(directory, error) || access(directory.c_str(), R_OK | X_OK) != 0) return {};
    if (inspect_directory(directory) == Contents::foreign || recorded_regions(directory).empty()) return {};
    return directory;
}

std::optional<fs::path> Arena::find_kept(const std::string& directory_name) {
    std::vector<fs::path> places = huge_page_mounts();
    places.emplace_back("/dev/shm");
    for (const fs::path& place : places)
        if (const auto kept = kept_in(place / directory_name)) return kept;
    return {};
}

Arena::Arena(const Options& options)
    : directory_(options.directory.empty() ? choose_directory(options.frame_bytes).directory
                                           : options.directory) {
    const bool look = options.start == Start::look;
    if (options.frame_bytes > kMaxFrameBytes || (options.frame_bytes == 0 && options.start == Start::empty))
        throw std::runtime_error("arena: " + std::to_string(options.frame_bytes) +
                                 " bytes of memory, not 1 to 4 TiB");
    if (!look) prepare_directory(directory_);
    lock_ = lock_directory(directory_);
    huge_pages_ = huge_page_bytes(directory_) != 0;
    if (!must_be_made(options)) {
        open_files(options);
        return;
    }
    if (look) throw std::runtime_error("arena: there is none in " + directory_.string());
    if (options.frame_bytes == 0) throw std::runtime_error("arena: a new one needs a size");
    remove_arena_files(directory_);
    try {
        make_files(options);
    } catch (...) {
        discard();
        throw;
    }
}

// An arena without regions is replaced when it does not fit: there is nothing to lose.
bool Arena::must_be_made(const Options& options) const {
    if (!check_contents(directory_, options.start)) return true;
    const Superblock::Fixed there = *read_superblock(directory_);
    std::error_code missing;
    const bool whole =
        fs::file_size(directory_ / kFramesFile, missing) >= there.frames_file_bytes && !missing &&
        fs::file_size(directory_ / kFrameMetaFile, missing) >= there.frame_meta_file_bytes && !missing;
    const uint64_t unit = huge_pages_ ? huge_page_bytes(directory_) : kPageBytes;
    const bool fits =
        options.frame_bytes == 0 || rounded_up(options.frame_bytes, unit) == there.frame_count * kPageBytes;
    if (whole && fits) return false;
    if (options.start == Start::keep && recorded_regions(directory_).empty()) return true;
    if (!whole)
        throw std::runtime_error("arena: " + directory_.string() +
                                 " is damaged: the files of its memory are missing or too short" +
                                 kOrStartEmpty);
    throw std::runtime_error("arena: " + directory_.string() + " holds regions in " +
                             format_bytes(there.frame_count * kPageBytes) + ", but " +
                             format_bytes(options.frame_bytes) + " are configured; set memory.size to " +
                             std::to_string(there.frame_count * kPageBytes) + kOrStartEmpty);
}

void Arena::open_files(const Options& options) {
    reopened_ = true;
    read_only_ = options.start == Start::look;
    const auto access = read_only_ ? MappedFile::Access::read_only : MappedFile::Access::read_write;
    superblock_file_ = MappedFile::open(directory_ / kSuperblockFile, sizeof(Superblock), access);
    superblock_ = reinterpret_cast<Superblock*>(superblock_file_.bytes().data());
    const Superblock::Fixed& fixed = superblock_->fixed;
    if (fixed.page_bytes != kPageBytes || fixed.frame_meta_bytes != sizeof(FrameMeta) ||
        fixed.frames_file_bytes != fixed.frame_count * kPageBytes ||
        fixed.frame_meta_file_bytes < fixed.frame_count * sizeof(FrameMeta))
        throw std::runtime_error("arena: " + directory_.string() +
                                 ": the superblock's sizes do not fit each other" + kOrStartEmpty);
    frames_ = MappedFile::open(directory_ / kFramesFile, fixed.frames_file_bytes, access, options.progress);
    frame_meta_ = MappedFile::open(directory_ / kFrameMetaFile, fixed.frame_meta_file_bytes, access);
    if (read_only_) {
        const auto* meta = reinterpret_cast<const FrameMeta*>(frame_meta_.bytes().data());
        frame_meta_copy_.assign(meta, meta + fixed.frame_count);
    } else {
        remove_unrecorded(directory_);
    }
}

Arena::~Arena() = default;

void Arena::make_files(const Options& options) {
    const uint64_t unit = huge_pages_ ? huge_page_bytes(directory_) : kPageBytes;
    const uint64_t frames_bytes = rounded_up(options.frame_bytes, unit);
    const uint64_t frame_count = frames_bytes / kPageBytes;
    const uint64_t meta_bytes = rounded_up(frame_count * sizeof(FrameMeta), unit);
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

    frames_ = MappedFile(directory_ / kFramesFile, frames_bytes, options.progress);
    frame_meta_ = MappedFile(directory_ / kFrameMetaFile, meta_bytes);
}

std::span<std::byte> Arena::frames() const {
    return frames_.bytes().first(superblock_->fixed.frame_count * kPageBytes);
}

std::span<FrameMeta> Arena::frame_meta() {
    if (read_only_) return frame_meta_copy_;
    return {reinterpret_cast<FrameMeta*>(frame_meta_.bytes().data()), superblock_->fixed.frame_count};
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
