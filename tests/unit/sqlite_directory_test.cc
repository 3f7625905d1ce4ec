// SPDX-License-Identifier: BSD-3-Clause
// What is special to the SQLite engine: its file.
#define BOOST_TEST_MODULE sqlite_directory
#include <sys/stat.h>

#include <boost/test/unit_test.hpp>
#include <fstream>

#include "mgmt/cluster/sqlite_directory.h"
#include "tests/unit/logged_seed.h"
#include "tests/unit/scratch_folder.h"

using namespace lagan::cluster;
using namespace lagan::test;
using namespace std::chrono_literals;
namespace fs = std::filesystem;
using Kind = DirectoryError::Kind;

namespace {

auto says(Kind kind, const std::string& part) {
    return [=](const DirectoryError& error) {
        BOOST_TEST_MESSAGE(error.what());
        return error.kind == kind && std::string(error.what()).find(part) != std::string::npos;
    };
}

unsigned mode_of(const fs::path& file) {
    return static_cast<unsigned>(fs::status(file).permissions());
}

void write(const fs::path& file, const std::string& bytes) {
    std::ofstream(file, std::ios::binary) << bytes;
    fs::permissions(file, fs::perms::owner_read | fs::perms::owner_write);
}

}  // namespace

BOOST_AUTO_TEST_CASE(what_was_put_is_there_when_it_is_opened_again) {
    const ScratchFolder scratch;
    const fs::path file = scratch.path / "made" / "for it" / "directory.db";
    uint64_t revision = 0;
    {
        SqliteDirectory directory(file);
        revision = *directory.put("k", "v", Directory::kAbsent);
    }
    SqliteDirectory directory(file);
    BOOST_TEST(directory.get("k")->value == "v");
    BOOST_TEST(*directory.put("k", "w", revision) > revision);
}

BOOST_AUTO_TEST_CASE(nobody_else_may_read_it) {
    const ScratchFolder scratch;
    const fs::path file = scratch.path / "directory.db";
    const mode_t old_mask = umask(0);
    {
        SqliteDirectory directory(file);
        BOOST_TEST(directory.put("k", "v", Directory::kAbsent).has_value());
        BOOST_TEST(directory.campaign("c", 1s));
        for (const auto& entry : fs::directory_iterator(scratch.path))
            BOOST_TEST(mode_of(entry.path()) == 0600U, entry.path().string());
    }
    umask(old_mask);
    fs::permissions(file, fs::perms::group_read, fs::perm_options::add);
    BOOST_CHECK_EXCEPTION(SqliteDirectory{file}, DirectoryError, says(Kind::refused, "chmod 600"));
}

BOOST_AUTO_TEST_CASE(what_is_no_directory_is_refused) {
    const ScratchFolder scratch;
    const fs::path file = scratch.path / "directory.db";
    write(file, std::string(8192, 'x'));
    BOOST_CHECK_EXCEPTION(SqliteDirectory{file}, DirectoryError, says(Kind::damaged, "directory.db"));
    BOOST_CHECK_EXCEPTION(SqliteDirectory{scratch.path}, DirectoryError, says(Kind::refused, "cannot open"));
}

BOOST_AUTO_TEST_CASE(a_newer_format_is_refused) {
    const ScratchFolder scratch;
    const fs::path file = scratch.path / "directory.db";
    { SqliteDirectory directory(file); }
    std::fstream stream(file, std::ios::binary | std::ios::in | std::ios::out);
    stream.seekp(60);  // user_version, big-endian, in SQLite's header
    stream.write("\0\0\0\2", 4);
    stream.close();
    BOOST_CHECK_EXCEPTION(SqliteDirectory{file}, DirectoryError, says(Kind::refused, "has format 2"));
}

BOOST_AUTO_TEST_CASE(a_damaged_file_is_noticed_and_named) {
    auto random = seeded_random();
    const ScratchFolder scratch;
    const fs::path whole = scratch.path / "whole.db";
    {
        SqliteDirectory directory(whole);
        for (int i = 0; i < 300; ++i)
            directory.put("k/" + std::to_string(i), std::string(200, 'v'), Directory::kAbsent);
    }
    const uint64_t size = fs::file_size(whole);
    BOOST_REQUIRE(size > 40'000);
    int noticed = 0;
    constexpr int kRounds = 30;
    for (int round = 0; round < kRounds; ++round) {
        const fs::path file = scratch.path / ("damaged" + std::to_string(round) + ".db");
        fs::copy_file(whole, file);
        std::fstream stream(file, std::ios::binary | std::ios::in | std::ios::out);
        stream.seekp(static_cast<std::streamoff>(random() % (size / 4096) * 4096));  // a page's header
        for (int i = 0; i < 512; ++i)
            stream.put(static_cast<char>(random()));
        stream.close();
        try {
            SqliteDirectory directory(file);
            for (const Entry& entry : directory.list("k/", "", 0))
                BOOST_REQUIRE(entry.value == std::string(200, 'v'));
        } catch (const DirectoryError& error) {
            ++noticed;
            BOOST_TEST(((error.kind == Kind::damaged || error.kind == Kind::refused) &&
                        std::string(error.what()).find(file.string()) != std::string::npos),
                       error.what());
        }
    }
    BOOST_TEST(noticed == kRounds);
}

BOOST_AUTO_TEST_CASE(a_damaged_leader_file_makes_nobody_lead_for_a_while) {
    const ScratchFolder scratch;
    SqliteDirectory directory(scratch.path / "directory.db");
    BOOST_REQUIRE(directory.campaign("one", 60s));
    write(scratch.path / "directory.db.leader", "{\"holder\": \"on");
    BOOST_TEST(directory.leader().empty());
    BOOST_TEST(!directory.campaign("two", 60s));
    BOOST_TEST(!directory.campaign("two", 60s));
}

BOOST_AUTO_TEST_CASE(a_reboot_ends_leadership) {
    const ScratchFolder scratch;
    SqliteDirectory directory(scratch.path / "directory.db");
    write(scratch.path / "directory.db.leader",
          R"({"holder": "one", "boot": "another", "until_ms": 18446744073709551615})");
    BOOST_TEST(directory.leader().empty());
    BOOST_TEST(directory.campaign("two", 60s));
}
