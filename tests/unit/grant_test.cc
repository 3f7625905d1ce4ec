// SPDX-License-Identifier: BSD-3-Clause
// A grant opens exactly what was signed: no changed bit, no other key, no other length, no later second.
#define BOOST_TEST_MODULE grant
#include "appliance/grant.h"

#include <sys/stat.h>

#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

using namespace lagan;
using namespace lagan::appliance;
namespace fs = std::filesystem;

namespace {

constexpr uint64_t kNow = 1'750'000'000;
constexpr Grant kGrant{.role = Role::write, .region_id = 0x01020304, .expiry_unix_s = kNow + 60};

std::array<uint8_t, GrantKey::kBytes> key_bytes(uint8_t first = 0) {
    std::array<uint8_t, GrantKey::kBytes> key;
    for (size_t i = 0; i < key.size(); ++i)
        key[i] = static_cast<uint8_t>(first + i);
    return key;
}

struct Directory {
    fs::path path;
    Directory() {
        std::string name = (fs::temp_directory_path() / "lagan-grant-XXXXXX").string();
        BOOST_REQUIRE(mkdtemp(name.data()) != nullptr);
        path = name;
    }
    ~Directory() { fs::remove_all(path); }
};

}  // namespace

namespace lagan::appliance {
std::ostream& boost_test_print_type(std::ostream& out, GrantError error) {
    return out << to_string(error);
}
}  // namespace lagan::appliance

BOOST_AUTO_TEST_CASE(a_signed_grant_says_what_was_signed) {
    const GrantKey key(key_bytes());
    for (const Role role : {Role::read, Role::write, Role::recover}) {
        const GrantBytes bytes = key.sign({.role = role, .region_id = 7, .expiry_unix_s = kNow + 1});
        Grant out;
        BOOST_TEST(key.verify(bytes, kNow, out) == GrantError::none);
        BOOST_TEST((out.role == role));
        BOOST_TEST(out.region_id == 7u);
        BOOST_TEST(out.expiry_unix_s == kNow + 1);
    }
}

BOOST_AUTO_TEST_CASE(the_layout_is_the_documented_one) {
    const GrantKey key(key_bytes());
    const GrantBytes bytes = key.sign(kGrant);
    const std::vector<uint8_t> want{1,
                                    2,
                                    static_cast<uint8_t>(key.key_id() >> 8),
                                    static_cast<uint8_t>(key.key_id()),
                                    1,
                                    2,
                                    3,
                                    4,
                                    0,
                                    0,
                                    0,
                                    0,
                                    0x68,
                                    0x4e,
                                    0xe1,
                                    0xbc};
    BOOST_TEST(std::vector<uint8_t>(bytes.begin(), bytes.begin() + 16) == want,
               boost::test_tools::per_element());
}

// The HMAC is the one that anybody else would compute: Python's hmac module over the first 24 bytes.
BOOST_AUTO_TEST_CASE(an_independently_signed_grant_is_accepted) {
    GrantBytes bytes{};
    const GrantKey key(key_bytes());
    BOOST_REQUIRE(
        grant_from_hex("0103630d0000002a00000000684ee1bca0a1a2a3a4a5a6a7b8f097ae"
                       "db9968895505b03d4d17cfb0d84a6f97477a95cd37e1000c4ed31a99",
                       bytes));
    Grant out;
    BOOST_TEST(key.verify(bytes, kNow, out) == GrantError::none);
    BOOST_TEST((out.role == Role::recover));
    BOOST_TEST(out.region_id == 42u);
}

BOOST_AUTO_TEST_CASE(every_changed_bit_is_refused) {
    const GrantKey key(key_bytes());
    const GrantBytes good = key.sign(kGrant);
    for (size_t at = 0; at < good.size(); ++at) {
        for (unsigned bit = 0; bit < 8; ++bit) {
            GrantBytes bad = good;
            bad[at] = static_cast<uint8_t>(bad[at] ^ (1U << bit));
            Grant out{.role = Role::none, .region_id = 99, .expiry_unix_s = 99};
            const GrantError want = at == 0              ? GrantError::bad_version
                                    : at == 2 || at == 3 ? GrantError::unknown_key
                                                         : GrantError::bad_mac;
            BOOST_TEST(key.verify(bad, kNow, out) == want, "byte " << at << " bit " << bit);
            BOOST_TEST(out.region_id == 99u);
        }
    }
}

BOOST_AUTO_TEST_CASE(every_wrong_length_is_refused) {
    const GrantKey key(key_bytes());
    const GrantBytes good = key.sign(kGrant);
    std::vector<uint8_t> longer(good.begin(), good.end());
    longer.resize(200);
    for (size_t size = 0; size <= longer.size(); ++size) {
        if (size == kGrantBytes) continue;
        Grant out;
        BOOST_TEST(key.verify(std::span(longer).first(size), kNow, out) == GrantError::malformed);
    }
}

BOOST_AUTO_TEST_CASE(it_ends_when_its_expiry_begins) {
    const GrantKey key(key_bytes());
    const GrantBytes bytes = key.sign(kGrant);
    Grant out;
    BOOST_TEST(key.verify(bytes, kGrant.expiry_unix_s - 1, out) == GrantError::none);
    BOOST_TEST(key.verify(bytes, kGrant.expiry_unix_s, out) == GrantError::expired);
    BOOST_TEST(key.verify(bytes, UINT64_MAX, out) == GrantError::expired);
    const GrantBytes never_good = key.sign({.role = Role::read, .region_id = 1, .expiry_unix_s = 0});
    BOOST_TEST(key.verify(never_good, 0, out) == GrantError::expired);
}

BOOST_AUTO_TEST_CASE(a_role_that_does_not_exist_is_refused_though_signed) {
    const GrantKey key(key_bytes());
    for (unsigned role = 0; role < 256; ++role) {
        if (role >= 1 && role <= 3) continue;
        const GrantBytes bytes =
            key.sign({.role = static_cast<Role>(role), .region_id = 1, .expiry_unix_s = kNow + 60});
        Grant out;
        BOOST_TEST(key.verify(bytes, kNow, out) == GrantError::wrong_role);
    }
}

BOOST_AUTO_TEST_CASE(another_key_is_refused_even_with_our_key_id) {
    const GrantKey ours(key_bytes());
    const GrantKey theirs(key_bytes(1));
    GrantBytes bytes = theirs.sign(kGrant);
    Grant out;
    BOOST_TEST(ours.verify(bytes, kNow, out) == GrantError::unknown_key);
    bytes[2] = static_cast<uint8_t>(ours.key_id() >> 8);
    bytes[3] = static_cast<uint8_t>(ours.key_id());
    BOOST_TEST(ours.verify(bytes, kNow, out) == GrantError::bad_mac);
}

// Region ids begin again with a new arena: a grant must not open what has the same number there.
BOOST_AUTO_TEST_CASE(a_grant_is_good_for_its_arena_only) {
    const GrantKey key(key_bytes());
    const GrantBytes bytes = key.for_arena(1).sign({Role::write, 7, 100});
    Grant out;
    BOOST_TEST((key.for_arena(1).verify(bytes, 0, out) == GrantError::none));
    BOOST_TEST((key.for_arena(2).verify(bytes, 0, out) == GrantError::unknown_key));
    BOOST_TEST((key.verify(bytes, 0, out) == GrantError::unknown_key));
}

BOOST_AUTO_TEST_CASE(two_grants_are_never_the_same) {
    const GrantKey key(key_bytes());
    BOOST_TEST((key.sign(kGrant) != key.sign(kGrant)));
}

BOOST_AUTO_TEST_CASE(hexadecimal_there_and_back) {
    const GrantKey key(key_bytes());
    const GrantBytes bytes = key.sign(kGrant);
    const std::string text = grant_to_hex(bytes);
    BOOST_TEST(text.size() == 112u);
    GrantBytes back{};
    BOOST_TEST(grant_from_hex(text, back));
    BOOST_TEST((back == bytes));
    for (const std::string& bad :
         {std::string(), text.substr(1), text + "00", "g" + text.substr(1), " " + text.substr(1)}) {
        GrantBytes untouched{};
        BOOST_TEST(!grant_from_hex(bad, untouched));
        BOOST_TEST((untouched == GrantBytes{}));
    }
}

BOOST_AUTO_TEST_CASE(role_names) {
    Role role = Role::none;
    BOOST_TEST((role_from_name("recover", role) && role == Role::recover));
    BOOST_TEST(!role_from_name("none", role));
    BOOST_TEST(!role_from_name("Read", role));
    BOOST_TEST(!role_from_name("", role));
}

BOOST_AUTO_TEST_CASE(the_key_file_is_made_once_and_kept_private) {
    const Directory directory;
    const fs::path file = directory.path / "grant.key";
    const GrantKey first = GrantKey::load_or_create(file);
    struct stat status {};
    BOOST_REQUIRE(stat(file.c_str(), &status) == 0);
    BOOST_TEST((status.st_mode & 07777) == 0600u);
    BOOST_TEST(status.st_size == 32);
    const GrantKey second = GrantKey::load_or_create(file);
    Grant out;
    BOOST_TEST(second.verify(first.sign(kGrant), kNow, out) == GrantError::none);
    BOOST_TEST(std::distance(fs::directory_iterator(directory.path), fs::directory_iterator()) == 1);
}

BOOST_AUTO_TEST_CASE(racing_makers_of_the_key_file_agree) {
    const Directory directory;
    std::vector<std::thread> threads;
    std::vector<uint16_t> ids(8);
    for (auto& id : ids) {
        threads.emplace_back(
            [&id, &directory] { id = GrantKey::load_or_create(directory.path / "grant.key").key_id(); });
    }
    for (auto& thread : threads)
        thread.join();
    for (const uint16_t id : ids)
        BOOST_TEST(id == ids[0]);
}

BOOST_AUTO_TEST_CASE(a_bad_key_file_is_named_in_the_error) {
    const Directory directory;
    const fs::path file = directory.path / "grant.key";
    const auto error_has = [&file](const char* part) {
        return [&file, part](const std::runtime_error& error) {
            const std::string text = error.what();
            return text.find(file.string()) != std::string::npos && text.find(part) != std::string::npos;
        };
    };
    std::ofstream(file) << "too short";
    fs::permissions(file, fs::perms(0600));
    BOOST_CHECK_EXCEPTION(GrantKey::load_or_create(file), std::runtime_error, error_has("32 bytes"));
    std::ofstream(file) << std::string(32, 'k');
    fs::permissions(file, fs::perms(0640));
    BOOST_CHECK_EXCEPTION(GrantKey::load_or_create(file), std::runtime_error, error_has("chmod 600"));
    fs::remove(file);
    fs::create_symlink("/dev/null", file);
    BOOST_CHECK_EXCEPTION(GrantKey::load_or_create(file), std::runtime_error, error_has("cannot open"));
    const fs::path nowhere = directory.path / "missing" / "grant.key";
    BOOST_CHECK_THROW(GrantKey::load_or_create(nowhere), std::runtime_error);
}
