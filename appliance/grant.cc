// SPDX-License-Identifier: BSD-3-Clause
#include "appliance/grant.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/algorithm/hex.hpp>
#include <boost/endian/conversion.hpp>
#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace lagan::appliance {

namespace {

namespace endian = boost::endian;

// Offsets of the layout in grant.h.
constexpr size_t kVersionAt = 0;
constexpr size_t kRoleAt = 1;
constexpr size_t kKeyIdAt = 2;
constexpr size_t kRegionAt = 4;
constexpr size_t kExpiryAt = 8;
constexpr size_t kNonceAt = 16;
constexpr size_t kNonceBytes = 8;
constexpr size_t kMacAt = 24;
constexpr size_t kMacBytes = 32;
static_assert(kMacAt + kMacBytes == kGrantBytes);

using Mac = std::array<uint8_t, kMacBytes>;

Mac compute_mac(std::span<const uint8_t> key, std::span<const uint8_t> text) {
    Mac mac;
    unsigned mac_bytes = 0;
    if (HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), text.data(), text.size(), mac.data(),
             &mac_bytes) == nullptr ||
        mac_bytes != mac.size()) {
        throw std::runtime_error("cannot compute HMAC-SHA256: OpenSSL refused");
    }
    return mac;
}

void random_bytes(std::span<uint8_t> out) {
    if (RAND_bytes(out.data(), static_cast<int>(out.size())) != 1) {
        throw std::runtime_error("the system's random number source failed (OpenSSL RAND_bytes)");
    }
}

[[noreturn]] void key_file_error(const std::filesystem::path& file, const std::string& what) {
    throw std::runtime_error("grant key " + file.string() + ": " + what);
}

[[noreturn]] void key_file_errno(const std::filesystem::path& file, const char* action) {
    const int error = errno;
    key_file_error(file, std::string("cannot ") + action + ": " + std::strerror(error) +
                             "; check that node.state_dir exists and that lagand may write there");
}

// Owns a file descriptor.
class Descriptor {
  public:
    explicit Descriptor(int fd) : fd_(fd) {}
    ~Descriptor() {
        if (fd_ >= 0) close(fd_);
    }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    int get() const { return fd_; }

  private:
    int fd_;
};

// Writes a new key beside `file` and links it to that name, which fails if somebody else was first: then
// theirs counts.
void create_key_file(const std::filesystem::path& file) {
    std::string temporary = file.string() + ".XXXXXX";
    const Descriptor fd(mkostemp(temporary.data(), O_CLOEXEC));  // mode 0600
    if (fd.get() < 0) key_file_errno(file, "create");

    std::array<uint8_t, GrantKey::kBytes> key;
    random_bytes(key);
    const bool written =
        write(fd.get(), key.data(), key.size()) == static_cast<ssize_t>(key.size()) && fsync(fd.get()) == 0;
    OPENSSL_cleanse(key.data(), key.size());
    const bool linked = written && (link(temporary.c_str(), file.c_str()) == 0 || errno == EEXIST);
    const int error = errno;
    unlink(temporary.c_str());
    errno = error;
    if (!linked) key_file_errno(file, "write");
}

}  // namespace

const char* to_string(GrantError error) {
    static constexpr const char* kTexts[] = {
#define LAGAN_X(name, text) text,
        LAGAN_GRANT_ERRORS(LAGAN_X)
#undef LAGAN_X
    };
    return kTexts[static_cast<size_t>(error)];
}

const char* grant_error_name(GrantError error) {
    static constexpr const char* kNames[] = {
#define LAGAN_X(name, text) #name,
        LAGAN_GRANT_ERRORS(LAGAN_X)
#undef LAGAN_X
    };
    return kNames[static_cast<size_t>(error)];
}

GrantKey::GrantKey(std::span<const uint8_t, kBytes> key) {
    std::copy(key.begin(), key.end(), key_.begin());
    std::array<uint8_t, SHA256_DIGEST_LENGTH> digest;
    if (SHA256(key_.data(), key_.size(), digest.data()) == nullptr) {
        throw std::runtime_error("cannot compute SHA-256: OpenSSL refused");
    }
    key_id_ = endian::load_big_u16(digest.data());
}

GrantKey::~GrantKey() {
    OPENSSL_cleanse(key_.data(), key_.size());
}

GrantKey GrantKey::load_or_create(const std::filesystem::path& file) {
    for (int attempt = 0; attempt < 2; ++attempt) {
        const Descriptor fd(open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
        if (fd.get() < 0) {
            if (errno != ENOENT || attempt > 0) key_file_errno(file, "open");
            create_key_file(file);
            continue;
        }
        struct stat status {};
        if (fstat(fd.get(), &status) != 0) key_file_errno(file, "inspect");
        if (!S_ISREG(status.st_mode) || status.st_size != static_cast<off_t>(kBytes)) {
            key_file_error(file,
                           "not a key: it must be a file of 32 bytes; remove it to have a new key made "
                           "(grants given out so far then stop working)");
        }
        if ((status.st_mode & 077) != 0) {
            key_file_error(file, "other users may read or write it; run: chmod 600 " + file.string());
        }
        std::array<uint8_t, kBytes> key;
        if (read(fd.get(), key.data(), key.size()) != static_cast<ssize_t>(key.size()))
            key_file_errno(file, "read");
        struct Wipe {
            std::array<uint8_t, kBytes>& bytes;
            ~Wipe() { OPENSSL_cleanse(bytes.data(), bytes.size()); }
        } wipe{key};
        return GrantKey(key);
    }
    key_file_error(file, "vanished right after it was made");
}

GrantKey GrantKey::for_arena(uint64_t instance) const {
    std::array<uint8_t, sizeof instance> text;
    endian::store_big_u64(text.data(), instance);
    return GrantKey(compute_mac(key_, text));
}

GrantBytes GrantKey::sign(const Grant& grant) const {
    GrantBytes bytes{};
    bytes[kVersionAt] = kGrantVersion;
    bytes[kRoleAt] = static_cast<uint8_t>(grant.role);
    endian::store_big_u16(&bytes[kKeyIdAt], key_id_);
    endian::store_big_u32(&bytes[kRegionAt], grant.region_id);
    endian::store_big_u64(&bytes[kExpiryAt], grant.expiry_unix_s);
    random_bytes(std::span(bytes).subspan(kNonceAt, kNonceBytes));
    const Mac mac = compute_mac(key_, std::span(bytes).first(kMacAt));
    std::copy(mac.begin(), mac.end(), bytes.begin() + kMacAt);
    return bytes;
}

GrantError GrantKey::verify(std::span<const uint8_t> bytes, uint64_t now_unix_s, Grant& out) const {
    if (bytes.size() != kGrantBytes) return GrantError::malformed;
    if (bytes[kVersionAt] != kGrantVersion) return GrantError::bad_version;
    if (endian::load_big_u16(&bytes[kKeyIdAt]) != key_id_) return GrantError::unknown_key;
    const Mac mac = compute_mac(key_, std::span(bytes).first(kMacAt));
    if (CRYPTO_memcmp(mac.data(), &bytes[kMacAt], mac.size()) != 0) return GrantError::bad_mac;

    // From here on the fields are what we once signed.
    const auto role = static_cast<Role>(bytes[kRoleAt]);
    if (role != Role::read && role != Role::write && role != Role::recover) return GrantError::wrong_role;
    const uint64_t expiry = endian::load_big_u64(&bytes[kExpiryAt]);
    if (now_unix_s >= expiry) return GrantError::expired;
    out = {.role = role, .region_id = endian::load_big_u32(&bytes[kRegionAt]), .expiry_unix_s = expiry};
    return GrantError::none;
}

std::string grant_to_hex(const GrantBytes& bytes) {
    std::string text;
    boost::algorithm::hex_lower(bytes.begin(), bytes.end(), std::back_inserter(text));
    return text;
}

bool grant_from_hex(std::string_view text, GrantBytes& out) {
    if (text.size() != 2 * kGrantBytes) return false;
    GrantBytes parsed;
    try {
        boost::algorithm::unhex(text.begin(), text.end(), parsed.begin());
    } catch (const boost::algorithm::hex_decode_error&) {
        return false;
    }
    out = parsed;
    return true;
}

const char* role_name(Role role) {
    switch (role) {
        case Role::none:
            return "none";
        case Role::read:
            return "read";
        case Role::write:
            return "write";
        case Role::recover:
            return "recover";
    }
    return "unknown";
}

bool role_from_name(std::string_view text, Role& out) {
    for (const Role role : {Role::read, Role::write, Role::recover}) {
        if (text != role_name(role)) continue;
        out = role;
        return true;
    }
    return false;
}

}  // namespace lagan::appliance
