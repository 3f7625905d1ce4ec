// SPDX-License-Identifier: BSD-3-Clause
#include "datapath/memory/arena_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <utility>

namespace lagan::memory {

namespace fs = std::filesystem;

namespace {

// "region-7.pages": 7 and ".pages"; any other name: nothing.
std::optional<std::pair<uint32_t, std::string_view>> region_file_name(std::string_view name) {
    constexpr std::string_view kPrefix = "region-";
    if (!name.starts_with(kPrefix)) return {};
    name.remove_prefix(kPrefix.size());
    uint32_t id = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), id);
    name.remove_prefix(static_cast<size_t>(end - name.data()));
    if (error != std::errc{} || (name != ".pages" && name != ".dirty" && name != ".record")) return {};
    return {{id, name}};
}

bool is_arena_file(std::string_view name) {
    if (name.ends_with(kNewSuffix)) name.remove_suffix(std::string_view(kNewSuffix).size());
    return name == kSuperblockFile || name == kFramesFile || name == kFrameMetaFile || region_file_name(name);
}

Contents inspect_superblock(const fs::path& path, Superblock::Fixed& fixed) {
    const FileDescriptor file(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    if (file.get() < 0 || pread(file.get(), &fixed, sizeof fixed, 0) != ssize_t{sizeof fixed} ||
        fixed.magic != kSuperblockMagic)
        return Contents::foreign;
    // Magic and version lie where they lie in all versions.
    if (fixed.version > kArenaVersion) return Contents::newer;
    if (fixed.version < kArenaVersion) return Contents::older;
    return fixed.crc == layout_crc(fixed) ? Contents::arena : Contents::damaged;
}

}  // namespace

void prepare_directory(const fs::path& directory) {
    if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST)
        throw std::system_error(errno, std::generic_category(), "arena: mkdir " + directory.string());
    struct stat info {};
    if (lstat(directory.c_str(), &info) != 0)
        throw std::system_error(errno, std::generic_category(), "arena: " + directory.string());
    if (!S_ISDIR(info.st_mode))
        throw std::runtime_error("arena: " + directory.string() + " is not a directory");
    if (info.st_uid != geteuid() || (info.st_mode & 022) != 0)
        throw std::runtime_error(
            "arena: " + directory.string() +
            " belongs to another user or others may write to it; name a directory that does not "
            "exist yet, or chown and chmod 700 it");
}

FileDescriptor lock_directory(const fs::path& directory) {
    const fs::path path = directory / kLockFile;
    FileDescriptor file(open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (file.get() < 0)
        throw std::system_error(errno, std::generic_category(), "arena: open " + path.string());
    if (flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK)
            throw std::system_error(errno, std::generic_category(), "arena: flock " + path.string());
        throw std::runtime_error("arena: " + directory.string() +
                                 " is in use by another lagand; stop it or name another directory");
    }
    // The holder may have removed the file between our open and our lock: then this lock guards nothing.
    struct stat ours {
    }, current{};
    if (fstat(file.get(), &ours) != 0 || stat(path.c_str(), &current) != 0 || ours.st_ino != current.st_ino)
        throw std::runtime_error("arena: " + directory.string() +
                                 " was just being removed by another lagand; try again");
    return file;
}

Contents inspect_directory(const fs::path& directory) {
    bool empty = true;
    const std::string half_made = std::string(kSuperblockFile) + kNewSuffix;
    for (const auto& entry : fs::directory_iterator(directory)) {
        const std::string name = entry.path().filename();
        empty = empty && (name == kLockFile || name == half_made);
    }
    if (empty) return Contents::empty;
    Superblock::Fixed fixed;
    return inspect_superblock(directory / kSuperblockFile, fixed);
}

std::optional<Superblock::Fixed> read_superblock(const fs::path& directory) {
    Superblock::Fixed fixed;
    if (inspect_superblock(directory / kSuperblockFile, fixed) != Contents::arena) return {};
    return fixed;
}

std::vector<uint32_t> recorded_regions(const fs::path& directory) {
    std::vector<uint32_t> ids;
    for (const auto& entry : fs::directory_iterator(directory)) {
        const std::string name = entry.path().filename();
        const auto parsed = region_file_name(name);
        if (parsed && parsed->second == ".record") ids.push_back(parsed->first);
    }
    std::sort(ids.begin(), ids.end());
    return ids;
}

void remove_unrecorded(const fs::path& directory) {
    const std::vector<uint32_t> recorded = recorded_regions(directory);
    for (const auto& entry : fs::directory_iterator(directory)) {
        const std::string name = entry.path().filename();
        const bool half_made = name.ends_with(kNewSuffix) && is_arena_file(name);
        const auto parsed = region_file_name(name);
        if (half_made || (parsed && !std::binary_search(recorded.begin(), recorded.end(), parsed->first)))
            fs::remove(entry.path());
    }
}

void remove_arena_files(const fs::path& directory) {
    for (const auto& entry : fs::directory_iterator(directory)) {
        const std::string name = entry.path().filename();
        if (name != kSuperblockFile && is_arena_file(name)) fs::remove(entry.path());
    }
    fs::remove(directory / kSuperblockFile);
}

std::string format_bytes(uint64_t bytes) {
    constexpr std::array<const char*, 5> kUnits{"bytes", "KiB", "MiB", "GiB", "TiB"};
    double value = static_cast<double>(bytes);
    size_t unit = 0;
    for (; value >= 1024 && unit + 1 < kUnits.size(); ++unit)
        value /= 1024;
    std::array<char, 32> text;
    std::snprintf(text.data(), text.size(), unit == 0 ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
    return text.data();
}

}  // namespace lagan::memory
