// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/cluster/tokens.h"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <array>
#include <stdexcept>

namespace lagan::cluster {

namespace {

constexpr const char* kBegin = "lagan_";  // so that scanners for leaked secrets know one
constexpr size_t kRandomBytes = 32;
constexpr size_t kMaxText = 256;

std::string to_hex(const unsigned char* bytes, size_t count) {
    std::string text;
    for (size_t i = 0; i < count; ++i)
        text += fmt::format("{:02x}", bytes[i]);
    return text;
}

}  // namespace

std::string sha256_hex(const std::string& text) {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned length = 0;
    if (EVP_Digest(text.data(), text.size(), digest.data(), &length, EVP_sha256(), nullptr) != 1)
        throw std::runtime_error("SHA-256 failed");
    return to_hex(digest.data(), length);
}

NewToken Tokens::create(const std::string& name, TokenRole role, const std::string& tenant, uint64_t now_ms) {
    std::array<unsigned char, kRandomBytes> random{};
    if (RAND_bytes(random.data(), static_cast<int>(random.size())) != 1)
        throw std::runtime_error("no random bytes for a token");
    NewToken token{.text = kBegin + to_hex(random.data(), random.size()), .record = {}};
    token.record = {
        .hash = sha256_hex(token.text), .name = name, .role = role, .tenant = tenant, .created_ms = now_ms};
    if (!directory_.put(kTokenPrefix + token.record.hash, token.record, Directory::kAbsent))
        throw std::runtime_error("the token exists already");
    return token;
}

// Found by its hash, which tells nothing about other tokens by the time it takes; then compared in a time
// that does not depend on where they differ.
std::optional<TokenRecord> Tokens::find(const std::string& text) const {
    if (text.size() > kMaxText) return std::nullopt;
    const std::string hash = sha256_hex(text);
    const auto entry = directory_.get(kTokenPrefix + hash);
    if (!entry) return std::nullopt;
    auto record = entry->value.get<TokenRecord>();
    if (record.hash.size() != hash.size() || CRYPTO_memcmp(record.hash.data(), hash.data(), hash.size()) != 0)
        return std::nullopt;
    return record;
}

bool Tokens::is_there(const TokenRecord& token) const {
    return directory_.get(kTokenPrefix + token.hash).has_value();
}

std::vector<TokenRecord> Tokens::list() const {
    std::vector<TokenRecord> tokens;
    for (const Entry& entry : directory_.list(kTokenPrefix))
        tokens.push_back(entry.value.get<TokenRecord>());
    return tokens;
}

bool Tokens::remove(const std::string& hash) {
    const auto found = directory_.list(kTokenPrefix + hash, "", 2);
    return !hash.empty() && found.size() == 1 && directory_.remove(found[0].key, found[0].revision);
}

}  // namespace lagan::cluster
