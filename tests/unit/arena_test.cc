// SPDX-License-Identifier: BSD-3-Clause
#define BOOST_TEST_MODULE arena
#include "datapath/memory/arena.h"

#include <sys/stat.h>
#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <fstream>
#include <system_error>

#include "datapath/memory/arena_directory.h"
#include "datapath/memory/arena_layout.h"
#include "datapath/memory/file_room.h"
#include "datapath/memory/parallel.h"

using namespace lagan::memory;
namespace fs = std::filesystem;

namespace {

constexpr uint64_t kMiB = 1U << 20;

// A directory of our own on tmpfs, gone at the end.
struct Scratch {
    Scratch() : path("/dev/shm/lagan_arena_test." + std::to_string(getpid())) { fs::create_directory(path); }
    ~Scratch() { fs::remove_all(path); }
    fs::path path;
};

std::string message_of(const Arena::Options& options) {
    try {
        const Arena arena(options);
    } catch (const std::runtime_error& error) {
        return error.what();
    }
    return "";
}

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

unsigned mode_of(const fs::path& path) {
    struct stat info {};
    stat(path.c_str(), &info);
    return info.st_mode & 0777;
}

size_t entries_in(const fs::path& path) {
    return static_cast<size_t>(std::distance(fs::directory_iterator(path), fs::directory_iterator()));
}

std::string read_file(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

BOOST_AUTO_TEST_CASE(the_files_are_the_memory_and_outlive_the_arena) {
    const Scratch scratch;
    const fs::path directory = scratch.path / "a";
    {
        Arena arena({directory, 3 * kMiB + 1});
        BOOST_TEST(!arena.huge_pages());
        BOOST_TEST(arena.frames().size() == 3 * kMiB + kPageBytes);
        BOOST_TEST(arena.frame_meta().size() == 769U);
        BOOST_TEST(reinterpret_cast<uintptr_t>(arena.frames().data()) % kPageBytes == 0U);
        BOOST_TEST(mode_of(directory) == 0700U);
        for (const char* name : {kLockFile, kSuperblockFile, kFramesFile, kFrameMetaFile})
            BOOST_TEST(mode_of(directory / name) == 0600U);
        arena.frames().back() = std::byte{0x5a};
        BOOST_TEST(arena.take_region_id() == 1U);
        BOOST_TEST(arena.take_region_id() == 2U);
        // Committed: nothing can turn a store into SIGBUS later.
        struct stat info {};
        BOOST_REQUIRE(stat((directory / kFramesFile).c_str(), &info) == 0);
        BOOST_TEST(static_cast<uint64_t>(info.st_blocks) * 512 >= arena.frames().size());
    }
    BOOST_TEST(read_file(directory / kFramesFile).back() == 0x5a);
    Superblock::Fixed fixed;
    std::memcpy(&fixed, read_file(directory / kSuperblockFile).data(), sizeof(fixed));
    BOOST_TEST(fixed.magic == kSuperblockMagic);
    BOOST_TEST(fixed.frame_count == 769U);
    BOOST_TEST(fixed.crc == layout_crc(fixed));
}

BOOST_AUTO_TEST_CASE(a_reset_start_is_empty_and_can_be_refused) {
    const Scratch scratch;
    const fs::path directory = scratch.path / "a";
    {
        Arena arena({directory, kMiB});
        arena.frames().front() = std::byte{1};
        arena.take_region_id();
    }
    std::ofstream(directory / region_file(1, "pages")) << "old";
    BOOST_TEST(contains(message_of({directory, kMiB, false}), "reset is off"));
    BOOST_TEST(fs::exists(directory / region_file(1, "pages")));
    Arena arena({directory, 2 * kMiB});
    BOOST_TEST((arena.frames().front() == std::byte{0}));
    BOOST_TEST(arena.take_region_id() == 1U);
    BOOST_TEST(!fs::exists(directory / region_file(1, "pages")));
}

BOOST_AUTO_TEST_CASE(one_lagand_per_arena) {
    const Scratch scratch;
    const fs::path directory = scratch.path / "a";
    {
        Arena arena({directory, kMiB});
        arena.frames().front() = std::byte{7};
        BOOST_TEST(contains(message_of({directory, kMiB}), "in use by another lagand"));
        BOOST_TEST((arena.frames().front() == std::byte{7}));
        BOOST_TEST(fs::file_size(directory / kFramesFile) == kMiB);
    }
    Arena next({directory, kMiB});
}

BOOST_AUTO_TEST_CASE(foreign_files_are_never_touched) {
    const Scratch scratch;
    // No superblock: refuse, whatever the names are.
    std::ofstream(scratch.path / "frames") << "precious";
    fs::permissions(scratch.path, fs::perms::owner_all);
    BOOST_TEST(contains(message_of({scratch.path, kMiB}), "no Lagan superblock"));
    BOOST_TEST(read_file(scratch.path / "frames") == "precious");
    fs::remove(scratch.path / "frames");
    // A superblock whose CRC does not fit is none.
    { Arena arena({scratch.path, kMiB}); }
    std::fstream(scratch.path / kSuperblockFile, std::ios::in | std::ios::out).seekp(16).put('x');
    BOOST_TEST(contains(message_of({scratch.path, kMiB}), "no Lagan superblock"));
    std::fstream(scratch.path / kSuperblockFile, std::ios::in | std::ios::out).seekp(16).put('\0').put('\1');
    // With one, files of other names stay.
    { Arena arena({scratch.path / "b", kMiB}); }
    for (const char* name : {"region-1.pages.bak", "region-x.pages", "region-.pages", "frames2", "notes"})
        std::ofstream(scratch.path / "b" / name) << "precious";
    fs::create_symlink("/dev/null", scratch.path / "b" / "region-3.dirty");
    { Arena arena({scratch.path / "b", kMiB}); }
    for (const char* name : {"region-1.pages.bak", "region-x.pages", "region-.pages", "frames2", "notes"})
        BOOST_TEST(read_file(scratch.path / "b" / name) == "precious");
    BOOST_TEST(!fs::is_symlink(scratch.path / "b" / "region-3.dirty"));
}

BOOST_AUTO_TEST_CASE(directories_that_are_not_ours_alone_are_refused) {
    const Scratch scratch;
    const fs::path open_directory = scratch.path / "open";
    fs::create_directory(open_directory);
    fs::permissions(open_directory, fs::perms::all);
    BOOST_TEST(contains(message_of({open_directory, kMiB}), "chmod 700"));
    fs::permissions(open_directory, fs::perms::owner_all);
    fs::create_directory_symlink(open_directory, scratch.path / "link");
    BOOST_TEST(contains(message_of({scratch.path / "link", kMiB}), "not a directory"));
    std::ofstream(scratch.path / "file") << "x";
    BOOST_TEST(contains(message_of({scratch.path / "file", kMiB}), "not a directory"));
    BOOST_TEST(contains(message_of({scratch.path / "no" / "such", kMiB}), "mkdir"));
    BOOST_TEST(entries_in(open_directory) == 0U);
}

BOOST_AUTO_TEST_CASE(what_does_not_fit_is_refused_and_leaves_nothing) {
    const Scratch scratch;
    const fs::path directory = scratch.path / "a";
    BOOST_TEST(contains(message_of({directory, 0}), "1 to 4 TiB"));
    BOOST_TEST(contains(message_of({directory, ~0ULL}), "1 to 4 TiB"));
    const uint64_t too_much = free_bytes(scratch.path) + (1ULL << 30);
    BOOST_TEST(contains(message_of({directory, too_much}), "has room for"));
    BOOST_TEST(!fs::exists(directory));
    const std::string reason = [&] {
        try {
            return Arena::choose_directory(1ULL << 42).reason;
        } catch (const std::runtime_error& error) {
            return std::string(error.what());
        }
    }();
    BOOST_TEST(contains(reason, "vm.nr_hugepages"), reason);
}

BOOST_AUTO_TEST_CASE(a_small_arena_finds_a_place) {
    const Arena::Choice choice = Arena::choose_directory(4 * kMiB);
    BOOST_TEST_MESSAGE(choice.directory << ": " << choice.reason);
    BOOST_TEST(choice.directory.filename() == "lagan");
    BOOST_TEST(choice.huge_pages == (huge_page_bytes(choice.directory.parent_path()) != 0));
}

BOOST_AUTO_TEST_CASE(discard_gives_the_memory_back) {
    const Scratch scratch;
    const fs::path directory = scratch.path / "a";
    {
        Arena arena({directory, kMiB});
        std::ofstream(directory / "notes") << "mine";
        arena.discard();
        BOOST_TEST(entries_in(directory) == 1U);
        arena.frames().front() = std::byte{1};  // still mapped
        fs::remove(directory / "notes");
        arena.discard();
        BOOST_TEST(!fs::exists(directory));
    }
    Arena again({directory, kMiB});
}

BOOST_AUTO_TEST_CASE(a_start_killed_halfway_does_not_block_the_next) {
    const Scratch scratch;
    const fs::path directory = scratch.path / "a";
    prepare_directory(directory);
    std::ofstream(directory / kLockFile);
    std::ofstream(directory / (std::string(kSuperblockFile) + kNewSuffix)) << "half";
    { Arena arena({directory, kMiB}); }
    fs::remove(directory / kFrameMetaFile);
    { Arena arena({directory, kMiB}); }
    BOOST_TEST(fs::exists(directory / kFrameMetaFile));
}

BOOST_AUTO_TEST_CASE(a_mapped_file_is_new_or_an_error) {
    const Scratch scratch;
    const fs::path path = scratch.path / "f";
    MappedFile file(path, 1);
    BOOST_TEST(file.bytes().size() == kPageBytes);
    BOOST_CHECK_THROW(MappedFile(path, 1), std::system_error);
    BOOST_CHECK_THROW(MappedFile(scratch.path / "g", 0), std::system_error);
    BOOST_CHECK_THROW(MappedFile(scratch.path / "g", ~0ULL), std::system_error);
    BOOST_CHECK_THROW(MappedFile(scratch.path / "g", 1ULL << 46), std::system_error);
    BOOST_TEST(!fs::exists(scratch.path / "g"));
    MappedFile moved(std::move(file));
    moved.bytes()[4095] = std::byte{1};
    file = std::move(moved);
    BOOST_TEST((file.bytes()[4095] == std::byte{1}));
}

BOOST_AUTO_TEST_CASE(parallel_slices_cover_everything_once) {
    for (const size_t count : {0, 1, 9, 10, 11, 25, 1000}) {
        std::vector<std::atomic<int>> hits(count);
        parallel_slices(count, 10, [&](size_t begin, size_t end) {
            for (size_t i = begin; i < end; ++i)
                ++hits[i];
        });
        BOOST_TEST(std::all_of(hits.begin(), hits.end(), [](const auto& n) { return n == 1; }));
    }
    BOOST_CHECK_THROW(parallel_slices(100, 10,
                                      [](size_t, size_t end) {
                                          if (end == 100) throw std::runtime_error("x");
                                      }),
                      std::runtime_error);
}

// Runs where a hugetlbfs mount with 8 free pages is to be had (the first that is writable), else says that it
// did not.
BOOST_AUTO_TEST_CASE(huge_pages_are_reserved_at_once) {
    fs::path mount;
    std::ifstream mounts("/proc/mounts");
    for (std::string device, where, type, rest;
         mounts >> device >> where >> type && std::getline(mounts, rest);)
        if (type == "hugetlbfs" && access(where.c_str(), W_OK) == 0 &&
            free_bytes(where) >= 8 * huge_page_bytes(where))
            mount = where;
    if (mount.empty()) {
        BOOST_TEST_MESSAGE("no hugetlbfs mount with 8 free pages: skipped");
        return;
    }
    const uint64_t page = huge_page_bytes(mount);
    const fs::path directory = mount / ("lagan_arena_test." + std::to_string(getpid()));
    const uint64_t free_before = free_bytes(mount);
    {
        Arena arena({directory, page + 1});
        BOOST_TEST(arena.huge_pages());
        BOOST_TEST(arena.frames().size() == 2 * page);
        BOOST_TEST(free_bytes(mount) == free_before - 4 * page);
        BOOST_TEST(contains(message_of({directory, page}), "in use by another lagand"));
        arena.frames().back() = std::byte{1};
    }
    { Arena again({directory, page}); }  // the superblock is recognised on hugetlbfs too
    BOOST_TEST(contains(message_of({directory, free_before + (1ULL << 30)}), "vm.nr_hugepages"));
    BOOST_CHECK_THROW(MappedFile(mount / "lagan_arena_test.huge", free_before + (1ULL << 30)),
                      std::system_error);
    BOOST_TEST(!fs::exists(mount / "lagan_arena_test.huge"));
    BOOST_TEST(Arena::choose_directory(page).huge_pages);
    fs::remove_all(directory);
    BOOST_TEST(free_bytes(mount) == free_before);
}
