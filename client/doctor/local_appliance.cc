// SPDX-License-Identifier: BSD-3-Clause
#include "client/doctor/local_appliance.h"

#include <fmt/format.h>
#include <grp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <exception>
#include <string>

#include "appliance/size_text.h"
#include "client/node_client.h"

namespace lagan::client::doctor {

namespace {

constexpr std::chrono::seconds kPatience{5};
constexpr uint64_t kDefaultRegionBytes = uint64_t{1} << 30;  // of lagan run
constexpr const char* kCheck = "appliance";

std::string group_name(gid_t id) {
    const group* entry = getgrgid(id);
    return entry != nullptr ? entry->gr_name : std::to_string(id);
}

// How to become one who may use what belongs to the group.
std::string mend_group(gid_t id) {
    if (id == 0)
        return "as root: sudo lagan doctor ...; or give lagand a user and a group of its own, as "
               "config/lagand.service does";
    return fmt::format("sudo usermod -aG {} $(id -un)   # and log in again", group_name(id));
}

constexpr const char* kStart =
    "sudo systemctl start lagand   # or: lagand --config /etc/lagan/lagand.toml\n"
    "another socket or another machine: lagan doctor --appliance SOCKET, or --address IP";

// What the file system says before anybody is asked. False: a problem was found.
bool check_socket(const std::string& path, Findings& findings) {
    struct stat status {};
    if (stat(path.c_str(), &status) != 0) {
        if (errno == EACCES) {
            struct stat directory {};
            stat(std::filesystem::path(path).parent_path().c_str(), &directory);
            findings.problem(kCheck, fmt::format("this user may not look for {}", path),
                             mend_group(directory.st_gid));
        } else {
            findings.problem(
                kCheck, fmt::format("there is no socket {}: no lagand runs with this node.api_socket", path),
                kStart);
        }
        return false;
    }
    if (!S_ISSOCK(status.st_mode)) {
        findings.problem(kCheck, path + " is no socket",
                         "lagan doctor --appliance SOCKET   # node.api_socket of lagand.toml");
        return false;
    }
    if (access(path.c_str(), R_OK | W_OK) != 0) {
        findings.problem(kCheck,
                         fmt::format("this user may not use {}, which is for the group {}", path,
                                     group_name(status.st_gid)),
                         mend_group(status.st_gid));
        return false;
    }
    return true;
}

bool offers_port(const nlohmann::json& port) {
    return port.value("kind", "") == "vhost" && port.contains("peer_address") &&
           port["peer_address"].is_string() && !port["peer_address"].get_ref<const std::string&>().empty();
}

void check_vhost_port(const nlohmann::json& node, Findings& findings) {
    std::string path;
    for (const auto& port : node.value("ports", nlohmann::json::array())) {
        if (!offers_port(port)) continue;
        path = port.value("path", "");
        if (access(path.c_str(), R_OK | W_OK) == 0) {
            findings.ok("appliance port",
                        fmt::format("{} takes a client on this machine", port.value("name", "")));
            return;
        }
    }
    if (!path.empty()) {
        struct stat status {};
        stat(path.c_str(), &status);
        findings.problem("appliance port", "this user may not use the port's socket " + path,
                         mend_group(status.st_gid));
        return;
    }
    findings.problem("appliance port", "no port of the appliance takes clients on this machine",
                     "add to lagand.toml, and start lagand again:\n"
                     "  [[port]]\n  kind = \"vhost\"\n  path = \"/run/lagan/local0.vhost\"\n"
                     "  addresses = [\"10.77.0.1/24\"]\n  peer_address = \"10.77.0.2\"");
}

}  // namespace

std::optional<nlohmann::json> check_appliance(const std::filesystem::path& socket, Findings& findings) {
    if (!check_socket(socket, findings)) return std::nullopt;
    try {
        const NodeReply reply = NodeClient(socket, kPatience).get("/v1/node");
        if (!reply.ok() || !reply.body.is_object() || !reply.body.contains("rdma")) {
            findings.problem(kCheck, fmt::format("{} is no lagand's: {}", socket.string(), reply.error()),
                             kStart);
            return std::nullopt;
        }
        findings.ok(kCheck, fmt::format("{} answers at {}, version {}", reply.body.value("name", "lagand"),
                                        socket.string(), reply.body.value("version", "unknown")));
        return reply.body;
    } catch (const std::exception& error) {
        findings.problem(kCheck, error.what(), kStart);
        return std::nullopt;
    }
}

void check_offer(const nlohmann::json& node, Findings& findings) {
    check_vhost_port(node, findings);
    const uint64_t free = node.value(nlohmann::json::json_pointer("/memory/unclaimed_bytes"), uint64_t{0});
    const std::string amount = appliance::format_size(free);
    if (free >= kDefaultRegionBytes) {
        findings.ok("far memory", amount + " to be had");
    } else if (free > 0) {
        findings.warning(
            "far memory", fmt::format("{} to be had, and lagan run asks for 1 GiB", amount),
            fmt::format("lagan run --region-size {} -- PROGRAM   # or a larger memory.size in lagand.toml",
                        free / 4096 * 4096));
    } else {
        findings.problem(
            "far memory", "none to be had: regions hold all of it",
            "curl --unix-socket SOCKET -X DELETE http://localhost/v1/regions/NAME   # one that nobody "
            "needs, and no manager's, which is deleted there; or a larger memory.size in lagand.toml");
    }
}

}  // namespace lagan::client::doctor
