// SPDX-License-Identifier: BSD-3-Clause
// A grant that somebody put into a file, and what grants say (docs/protocol.md, "Grant").
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "datapath/qp_attributes.h"

namespace lagan::client {

// The 56 bytes. In the file they are 112 hexadecimal digits, or the node API's reply with them, or as they
// are. Throws std::runtime_error that says what is wrong with the file; nothing is said about the grant
// itself.
std::vector<uint8_t> read_grant_file(const std::filesystem::path& path);

// As it says itself.
Role role_of_grant(std::span<const uint8_t> grant);

// Do both name the same region of the same arena? Region numbers mean something in one arena only, which is
// what the key says.
bool same_region(std::span<const uint8_t> one, std::span<const uint8_t> other);

}  // namespace lagan::client
