// SPDX-License-Identifier: BSD-3-Clause
// Kinds of operations, and how many of each.
#pragma once

#include <array>
#include <cstdint>
#include <random>
#include <string>

namespace lagan::bench {

enum class OpKind : uint8_t { read, write, free };
inline constexpr uint32_t kOpKinds = 3;
inline constexpr std::array<const char*, kOpKinds> kOpNames = {"read", "write", "free"};
inline constexpr uint32_t index_of(OpKind kind) {
    return static_cast<uint32_t>(kind);
}

struct Mix {
    std::array<uint32_t, kOpKinds> weights{};

    // "read=70,write=25,free=5", or "read" alone for all of it. Throws std::invalid_argument that says what
    // is allowed.
    static Mix parse(const std::string& text);
    std::string to_string() const;

    bool has(OpKind kind) const { return weights[index_of(kind)] != 0; }
    OpKind pick(std::mt19937_64& random) const;
};

}  // namespace lagan::bench
