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

using namespace lagan::memory;
namespace fs = std::filesystem;

namespace {

constexpr uint64_t kMiB = 1U << 20;
using Start = Arena::Start;

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

BOOST_AUTO_TEST_CASE(a_start_keeps_what_is_there_or_begins_empty) {
    const Scratch scratch;
    const fs::path directory = scratch.path / "a";
    uint64_t instance = 0;
    {
        Arena arena({directory, kMiB, Start::keep});
        BOOST_TEST(!arena.reopened());
        arena.frames().front() = std::byte{1};
        BOOST_TEST(arena.take_region_id() == 1U);
        instance = arena.instance();
    }
    for (const char* kind : {"pages", "dirty", "record"})
        std::ofstream(directory / region_file(1, kind)) << "a region's";
    std::ofstream(directory / region_file(2, "pages")) << "was being made";
    std::ofstream(directory / (region_file(2, "record") + kNewSuffix)) << "was being made";
    for (const uint64_t size : {kMiB, uint64_t{0}}) {
        Arena arena({directory, size, Start::keep});
        BOOST_TEST(arena.reopened());
        BOOST_TEST((arena.frames().front() == std::byte{1}));
        BOOST_TEST(arena.instance() == instance);
        BOOST_TEST(arena.take_region_id() == (size == 0 ? 3U : 2U));
        BOOST_TEST(fs::exists(directory / region_file(1, "pages")));
        BOOST_TEST(!fs::exists(directory / region_file(2, "pages")));
        BOOST_TEST(!fs::exists(directory / (region_file(2, "record") + kNewSuffix)));
    }
    BOOST_TEST((Arena::kept_in(directory) == directory));
    // Another size: only what holds no region gives way.
    BOOST_TEST(contains(message_of({directory, 2 * kMiB, Start::keep}), "set memory.size to 1048576"));
    fs::remove(directory / region_file(1, "record"));
    BOOST_TEST(!Arena::kept_in(directory));
    {
        Arena arena({directory, 2 * kMiB, Start::keep});
        BOOST_TEST(!arena.reopened());
        BOOST_TEST(arena.instance() != instance);
        BOOST_TEST(!fs::exists(directory / region_file(1, "pages")));
    }
    std::ofstream(directory / region_file(1, "record")) << "a region's";
    Arena arena({directory, kMiB, Start::empty});
    BOOST_TEST((arena.frames().front() == std::byte{0}));
    BOOST_TEST(arena.take_region_id() == 1U);
    BOOST_TEST(!fs::exists(directory / region_file(1, "record")));
}

BOOST_AUTO_TEST_CASE(an_arena_that_cannot_be_opened_says_why_and_stays) {
    const Scratch scratch;
    const fs::path directory = scratch.path / "a";
    const fs::path superblock = directory / kSuperblockFile;
    { Arena arena({directory, kMiB}); }
    std::ofstream(directory / region_file(1, "record")) << "a region's";
    const std::string good = read_file(superblock);
    const auto with = [&](size_t at, const std::string& bytes) {
        std::string changed = good;
        changed.replace(at, bytes.size(), bytes);
        std::ofstream(superblock, std::ios::binary) << changed;
        const std::string message = message_of({directory, kMiB, Start::keep});
        BOOST_TEST(contains(message, "--empty-arena"), message);
        BOOST_TEST(fs::exists(directory / region_file(1, "record")));
        return message;
    };
    BOOST_TEST(contains(with(8, std::string(1, '\3')), "newer lagand"));
    BOOST_TEST(contains(with(8, std::string(1, '\1')), "older lagand"));
    for (size_t at = 12; at < sizeof(Superblock::Fixed); ++at)
        BOOST_TEST(
            contains(with(at, std::string(1, static_cast<char>(good[at] ^ 4))), "superblock is damaged"));
    std::ofstream(superblock, std::ios::binary) << good;
    fs::resize_file(directory / kFramesFile, kMiB - kPageBytes);
    BOOST_TEST(contains(message_of({directory, kMiB, Start::keep}), "missing or too short"));
    fs::resize_file(directory / kFramesFile, kMiB);
    BOOST_TEST(message_of({directory, kMiB, Start::keep}).empty());
    BOOST_TEST(contains(message_of({scratch.path / "none", 0, Start::look}), "none"));
}

BOOST_AUTO_TEST_CASE(looking_changes_nothing) {
    const Scratch scratch;
    const fs::path directory = scratch.path / "a";
    { Arena arena({directory, kMiB}); }
    std::ofstream(directory / region_file(2, "pages")) << "was being made";
    {
        Arena arena({directory, 0, Start::look});
        BOOST_TEST(arena.read_only());
        BOOST_TEST(arena.frames().size() == kMiB);
        arena.frame_meta()[0].page = 77;  // a copy
        BOOST_TEST(contains(message_of({directory, kMiB, Start::keep}), "in use by another lagand"));
    }
    BOOST_TEST(fs::exists(directory / region_file(2, "pages")));
    Arena arena({directory, kMiB, Start::keep});
    BOOST_TEST(arena.frame_meta()[0].page == 0U);
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
    // A superblock of other magic is none.
    { Arena arena({scratch.path, kMiB}); }
    std::fstream(scratch.path / kSuperblockFile, std::ios::in | std::ios::out).seekp(1).put('x');
    BOOST_TEST(contains(message_of({scratch.path, kMiB}), "no Lagan superblock"));
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
