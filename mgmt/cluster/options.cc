// SPDX-License-Identifier: BSD-3-Clause
#include "mgmt/cluster/options.h"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>

#include "appliance/option_overrides.h"
#include "appliance/toml_reader.h"
#include "mgmt/http/client.h"

namespace lagan::cluster {

using appliance::LogLevel;
using appliance::NamedValue;
using appliance::OptionError;
using appliance::TomlReader;
using std::chrono::milliseconds;

namespace {

constexpr uint64_t kMinuteMs = 60'000;
constexpr std::array<NamedValue<LogLevel>, 4> kLogLevels{{{"error", LogLevel::error},
                                                          {"warning", LogLevel::warning},
                                                          {"info", LogLevel::info},
                                                          {"debug", LogLevel::debug}}};

std::filesystem::path read_path(TomlReader& reader, const char* key, std::filesystem::path otherwise = {}) {
    const auto text = reader.text(key);
    if (!text || text->empty()) return otherwise;
    if (!text->starts_with('/'))
        reader.fail(key, fmt::format("is \"{}\", but must be an absolute path", *text));
    return *text;
}

milliseconds read_ms(TomlReader& reader, const char* key, uint64_t min, uint64_t max,
                     milliseconds otherwise) {
    const auto value = reader.integer(key, min, max);
    return value ? milliseconds(static_cast<int64_t>(*value)) : otherwise;
}

void read_manager(const toml::table& table, ManagerOptions& options) {
    TomlReader reader(table, "manager");
    options.name = reader.text("name").value_or(options.name);
    reader.refuse_unknown_keys();
}

void read_directory(const toml::table& table, DirectoryOptions& directory) {
    TomlReader reader(table, "directory");
    directory.file = read_path(reader, "file", directory.file);
    directory.endpoints = reader.texts("endpoints").value_or(directory.endpoints);
    for (const std::string& endpoint : directory.endpoints)
        if (const auto known = http::parse_endpoint(endpoint); !known || !known->unix_socket.empty())
            reader.fail("endpoints",
                        fmt::format("has \"{}\", but takes http://HOST:PORT or https://HOST:PORT", endpoint));
    directory.prefix = reader.text("prefix").value_or(directory.prefix);
    if (directory.prefix.empty() || !directory.prefix.ends_with('/'))
        reader.fail("prefix", "must end with \"/\"");
    directory.ca = read_path(reader, "ca");
    directory.certificate = read_path(reader, "certificate");
    directory.key = read_path(reader, "key");
    directory.timeout = read_ms(reader, "timeout_ms", 100, kMinuteMs, directory.timeout);
    reader.refuse_unknown_keys();
}

ListenOptions read_listen(const toml::table& table) {
    TomlReader reader(table, "listen");
    ListenOptions listen{.unix_socket = read_path(reader, "unix"), .address = {}, .tls = {}};
    const auto address = reader.text("address");
    listen.tls = {.certificate = read_path(reader, "certificate"),
                  .key = read_path(reader, "key"),
                  .client_ca = read_path(reader, "client_ca")};
    reader.refuse_unknown_keys();
    if (address.has_value() != listen.unix_socket.empty())
        reader.fail("address", "each [[listen]] has either an address or a unix socket");
    if (!address) return listen;
    const auto parsed = http::parse_tcp_address(*address);
    if (!parsed) reader.fail("address", fmt::format("is \"{}\", but must be ADDRESS:PORT", *address));
    listen.address = *parsed;
    if (listen.tls.certificate.empty() != listen.tls.key.empty())
        reader.fail("key", "certificate and key go together");
    if (listen.tls.certificate.empty() && !http::is_loopback(listen.address))
        reader.fail("address",
                    fmt::format("is \"{}\", where others can listen in: set certificate and key, or use a "
                                "loopback address",
                                *address));
    return listen;
}

void read_nodes(const toml::table& table, http::ClientTlsFiles& tls) {
    TomlReader reader(table, "nodes");
    tls = {.ca = read_path(reader, "ca"),
           .certificate = read_path(reader, "certificate"),
           .key = read_path(reader, "key")};
    reader.refuse_unknown_keys();
}

void read_health(const toml::table& table, ManagerOptions& options) {
    TomlReader reader(table, "health");
    options.health.interval = read_ms(reader, "interval_ms", 20, kMinuteMs, options.health.interval);
    options.health.missed =
        static_cast<unsigned>(reader.integer("missed", 1, 1000).value_or(options.health.missed));
    options.lease_ttl = read_ms(reader, "lease_ms", 100, 10 * kMinuteMs, options.lease_ttl);
    options.leader_ttl = read_ms(reader, "leader_ms", 500, 10 * kMinuteMs, options.leader_ttl);
    // Two heartbeats make a lease, and one may be lost.
    if (options.lease_ttl < 4 * options.health.interval)
        reader.fail("lease_ms",
                    "must be at least four times interval_ms, or a node freezes when one heartbeat is lost");
    reader.refuse_unknown_keys();
}

void read_failover(const toml::table& table, FailoverPolicy& policy) {
    TomlReader reader(table, "failover");
    policy.rescue_wait = read_ms(reader, "rescue_wait_ms", 0, 24 * 60 * kMinuteMs, policy.rescue_wait);
    policy.half_way_wait = read_ms(reader, "half_way_wait_ms", 0, 24 * 60 * kMinuteMs, policy.half_way_wait);
    reader.refuse_unknown_keys();
}

}  // namespace

ManagerOptions parse_options(std::string_view toml_text, const std::string& file_name,
                             const std::vector<std::string>& settings) {
    toml::table root = appliance::parse_toml(toml_text, file_name);
    appliance::apply_overrides(root, settings);
    TomlReader reader(root, "");
    ManagerOptions options;
    if (const auto* table = reader.table("manager")) read_manager(*table, options);
    if (const auto* table = reader.table("directory")) read_directory(*table, options.directory);
    for (const toml::table* table : reader.tables("listen"))
        options.listen.push_back(read_listen(*table));
    if (const auto* table = reader.table("nodes")) read_nodes(*table, options.nodes_tls);
    if (const auto* table = reader.table("health")) read_health(*table, options);
    if (const auto* table = reader.table("failover")) read_failover(*table, options.failover);
    if (const auto* table = reader.table("log")) {
        TomlReader log(*table, "log");
        options.log_level = log.choice<LogLevel>("level", kLogLevels).value_or(options.log_level);
        log.refuse_unknown_keys();
    }
    reader.refuse_unknown_keys();
    if (options.listen.empty())
        throw OptionError(file_name + ": listen: there is no [[listen]], so nobody could ask anything");
    return options;
}

ManagerOptions load_options(const std::filesystem::path& file, const std::vector<std::string>& settings) {
    errno = 0;
    std::ifstream stream(file, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
    if (!stream.good())
        throw OptionError(
            fmt::format("{}: cannot read the configuration: {}; name another with --config FILE",
                        file.string(), std::strerror(errno)));
    return parse_options(text, file.string(), settings);
}

}  // namespace lagan::cluster
