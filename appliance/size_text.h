// SPDX-License-Identifier: BSD-3-Clause
// Sizes as people write them: "64MiB", "1.5 GiB", "2G" (binary as well), "500MB" (decimal), "4096".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace lagan::appliance {

// What to say when parse_size() refused.
inline constexpr const char* kSizeSyntax =
    "bytes, or a number with KiB, MiB, GiB, TiB (K, M, G, T for short) or KB, MB, GB, TB";

// In bytes; nothing when the text is no size, is not a whole number of bytes, or does not fit 63 bits.
std::optional<uint64_t> parse_size(std::string_view text);

// In the largest binary unit, with two decimals where needed: "1 GiB", "1.50 MiB", "4095 bytes".
std::string format_size(uint64_t bytes);

}  // namespace lagan::appliance
