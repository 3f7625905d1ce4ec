// SPDX-License-Identifier: BSD-3-Clause
// The appliance on this machine, by its node API, and grants.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "client/doctor/findings.h"

namespace lagan::client::doctor {

// Whether the node API at `socket` answers this user; its GET /v1/node if it does.
std::optional<nlohmann::json> check_appliance(const std::filesystem::path& socket, Findings& findings);

// Whether the appliance that said `node` has a port for a client on this machine, and memory for a program.
void check_offer(const nlohmann::json& node, Findings& findings);

// A grant as docs/protocol.md lays it out. Who does not have the key cannot check the signature.
struct GrantFields {
    uint8_t version;
    uint8_t role;
    uint16_t key_id;
    uint32_t region_id;
    uint64_t expiry_unix_s;
    std::array<uint8_t, 56> bytes;
};

// How to get a new one into the file.
std::string mend_grant(const std::filesystem::path& file);

// Reads `file` (56 bytes, their hexadecimal digits, or the node API's reply) and says what is wrong with them
// at `now_unix_s`.
std::optional<GrantFields> check_grant(const std::filesystem::path& file, uint64_t now_unix_s,
                                       Findings& findings);

// Whether the appliance at `socket` has the grant's region, and signs with the key that the grant was signed
// with. Asks it for a grant of its own, for reading and of one second, to see that.
void check_grant_at(const GrantFields& grant, const std::filesystem::path& socket, Findings& findings);

}  // namespace lagan::client::doctor
