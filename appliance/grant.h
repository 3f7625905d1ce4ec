// SPDX-License-Identifier: BSD-3-Clause
// A grant lets its bearer open queue pairs to one region, in one role, until it expires. It travels in the 56
// bytes of private data that the RDMA CM leaves to the user (docs/protocol.md, "Grant"). All integers are
// big-endian:
//
//    0  version 1    1  role 1    2  key id 2    4  region id 4    8  expiry 8 (unix seconds)
//   16  nonce 8     24  HMAC-SHA256 of the first 24 bytes, 32
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "datapath/qp_attributes.h"

namespace lagan::appliance {

inline constexpr size_t kGrantBytes = 56;
inline constexpr uint8_t kGrantVersion = 1;

using GrantBytes = std::array<uint8_t, kGrantBytes>;

struct Grant {
    Role role = Role::none;
    uint32_t region_id = 0;
    uint64_t expiry_unix_s = 0;  // good until this second begins
};

// X(name, what the bearer is told)
#define LAGAN_GRANT_ERRORS(X)                                                           \
    X(none, "good")                                                                     \
    X(malformed, "not a grant: it must be 56 bytes")                                    \
    X(bad_version, "the grant's version is unknown here")                               \
    X(unknown_key, "the grant is another appliance's, or for an arena that is no more") \
    X(bad_mac, "the grant's signature does not fit: it was changed or forged")          \
    X(wrong_role, "the grant's role is neither read, write nor recover")                \
    X(expired, "the grant has expired")

enum class GrantError : uint8_t {
#define LAGAN_X(name, text) name,
    LAGAN_GRANT_ERRORS(LAGAN_X)
#undef LAGAN_X
        count_
};
const char* to_string(GrantError error);
const char* grant_error_name(GrantError error);  // as counters show it

// The appliance's signing key. Immutable after construction: any thread.
class GrantKey {
  public:
    static constexpr size_t kBytes = 32;

    explicit GrantKey(std::span<const uint8_t, kBytes> key);
    ~GrantKey();  // wipes the key
    GrantKey(const GrantKey&) = delete;
    GrantKey& operator=(const GrantKey&) = delete;
    GrantKey(GrantKey&&) noexcept = default;

    // Reads `file`, or makes it (mode 0600, 32 random bytes) in such a way that two processes doing so at
    // once end up with the same key. Throws std::runtime_error with the file's name and what to do.
    static GrantKey load_or_create(const std::filesystem::path& file);

    // The key for the grants of one arena, made of this one. In another arena the same region id is somebody
    // else's: a grant must not outlive the arena that it was given for.
    GrantKey for_arena(uint64_t instance) const;

    // With a fresh random nonce. Throws std::runtime_error if the system's random source fails.
    GrantBytes sign(const Grant& grant) const;

    // `out` is filled in only on GrantError::none. The HMAC is compared in constant time, before role and
    // expiry are looked at. Whether the region exists is for the caller to check.
    GrantError verify(std::span<const uint8_t> bytes, uint64_t now_unix_s, Grant& out) const;

    uint16_t key_id() const { return key_id_; }  // first two bytes of the key's SHA-256

  private:
    std::array<uint8_t, kBytes> key_;
    uint16_t key_id_;
};

// 112 lower-case hexadecimal digits; parsing takes either case. False on anything else.
std::string grant_to_hex(const GrantBytes& bytes);
bool grant_from_hex(std::string_view text, GrantBytes& out);

const char* role_name(Role role);                       // "read", "write", "recover"
bool role_from_name(std::string_view text, Role& out);  // the three above

}  // namespace lagan::appliance
