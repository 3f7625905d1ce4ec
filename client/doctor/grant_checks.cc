// SPDX-License-Identifier: BSD-3-Clause
// The checks of a grant, of local_appliance.h.
#include <fmt/format.h>

#include <algorithm>
#include <boost/endian/conversion.hpp>
#include <stdexcept>
#include <string>

#include "appliance/grant.h"
#include "client/connect.h"
#include "client/doctor/local_appliance.h"
#include "client/grant_file.h"
#include "client/node_client.h"

namespace lagan::client::doctor {

namespace {

constexpr const char* kCheck = "grant";
constexpr uint64_t kSoonSeconds = 60;

GrantFields parse(const appliance::GrantBytes& bytes) {
    return {.version = bytes[0],
            .role = bytes[1],
            .key_id = boost::endian::load_big_u16(bytes.data() + 2),
            .region_id = boost::endian::load_big_u32(bytes.data() + 4),
            .expiry_unix_s = boost::endian::load_big_u64(bytes.data() + 8),
            .bytes = bytes};
}

// The appliance's key, by a grant of its own: bytes 2 and 3 of any grant.
uint16_t key_id_of(const NodeClient& node, const std::string& region) {
    const std::vector<uint8_t> grant = request_grant(node, region, Role::read, 1);
    return grant.size() == appliance::kGrantBytes ? boost::endian::load_big_u16(grant.data() + 2)
                                                  : uint16_t{0};
}

}  // namespace

std::string mend_grant(const std::filesystem::path& file) {
    return fmt::format(
        "on the appliance: curl -s --unix-socket /run/lagan/lagand.sock "
        "http://localhost/v1/regions/NAME/grants -d '{{\"role\": \"write\"}}' > {}",
        file.empty() ? "FILE" : file.filename().string());
}

std::optional<GrantFields> check_grant(const std::filesystem::path& file, uint64_t now_unix_s,
                                       Findings& findings) {
    appliance::GrantBytes bytes;
    try {
        std::ranges::copy(read_grant_file(file), bytes.begin());
    } catch (const std::runtime_error& error) {
        findings.problem(kCheck, error.what(), mend_grant(file));
        return std::nullopt;
    }
    const GrantFields grant = parse(bytes);
    if (grant.version != appliance::kGrantVersion) {
        findings.problem(kCheck,
                         fmt::format("{} has version {}, known is {}", file.string(), grant.version,
                                     appliance::kGrantVersion),
                         mend_grant(file));
    } else if (grant.role < 1 || grant.role > 3) {
        findings.problem(
            kCheck, fmt::format("{} has role {}, neither read, write nor recover", file.string(), grant.role),
            mend_grant(file));
    } else if (grant.expiry_unix_s <= now_unix_s) {
        findings.problem(kCheck,
                         fmt::format("{} has expired, {} seconds ago by this machine's clock", file.string(),
                                     now_unix_s - grant.expiry_unix_s),
                         mend_grant(file));
    } else if (grant.expiry_unix_s - now_unix_s < kSoonSeconds) {
        findings.warning(
            kCheck, fmt::format("{} expires in {} seconds", file.string(), grant.expiry_unix_s - now_unix_s),
            mend_grant(file));
        return grant;
    } else {
        findings.ok(kCheck, fmt::format("{}: to {} region {}, for {} more seconds", file.string(),
                                        appliance::role_name(static_cast<Role>(grant.role)), grant.region_id,
                                        grant.expiry_unix_s - now_unix_s));
        return grant;
    }
    return std::nullopt;
}

void check_grant_at(const GrantFields& grant, const std::filesystem::path& socket, Findings& findings) {
    const char* const check = "grant's region";
    const std::string list =
        fmt::format("curl --unix-socket {} http://localhost/v1/regions", socket.string());
    try {
        const NodeClient node(socket);
        const NodeReply reply = node.get("/v1/regions");
        for (const auto& region : reply.body.at("regions")) {
            if (region.at("id") != grant.region_id) continue;
            const std::string name = region.at("name");
            if (key_id_of(node, name) == grant.key_id) {
                findings.ok(check, fmt::format("is \"{}\", and the key is this appliance's", name));
            } else {
                findings.problem(
                    check, "the grant was signed with another key than this appliance's",
                    fmt::format(
                        "ask the appliance that has the region for a grant; here: curl --unix-socket {} "
                        "http://localhost/v1/regions/{}/grants -d '{{\"role\": \"write\"}}'",
                        socket.string(), name));
            }
            return;
        }
        findings.problem(
            check,
            fmt::format("the appliance at {} has no region {} (any more)", socket.string(), grant.region_id),
            list);
    } catch (const std::exception& error) {
        findings.problem(check, error.what(), list);
    }
}

}  // namespace lagan::client::doctor
