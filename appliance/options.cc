// SPDX-License-Identifier: BSD-3-Clause
#include "appliance/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>

#include "appliance/option_overrides.h"
#include "appliance/port_options.h"
#include "appliance/size_text.h"
#include "appliance/toml_reader.h"
#include "mgmt/baseline/store_url.h"

namespace lagan::appliance {

namespace {

constexpr size_t kMaxFileBytes = 1U << 20;
constexpr uint64_t kMinMemoryBytes = 32ULL << 20;  // below, packets in flight could hold most of it
constexpr uint64_t kMaxMemoryBytes = 1ULL << 42;   // what an arena takes
constexpr unsigned kMaxCpu = 4095;
constexpr unsigned kMaxPorts = 16;
constexpr unsigned kMaxQps = 1U << 16;

constexpr std::array<NamedValue<HugePages>, 3> kHugePages{
    {{"auto", HugePages::automatic}, {"on", HugePages::on}, {"off", HugePages::off}}};
constexpr std::array<NamedValue<IdlePolicy>, 2> kIdlePolicies{
    {{"adaptive", IdlePolicy::adaptive}, {"spin", IdlePolicy::spin}}};
constexpr std::array<NamedValue<LogLevel>, 4> kLogLevels{{{"error", LogLevel::error},
                                                          {"warning", LogLevel::warning},
                                                          {"info", LogLevel::info},
                                                          {"debug", LogLevel::debug}}};

void read_node(const toml::table& table, NodeOptions& node) {
    TomlReader reader(table, "node");
    node.name = read_name(reader, "name").value_or(node.name);
    node.api_socket = read_socket_path(reader, "api_socket").value_or(node.api_socket);
    node.state_dir = read_absolute_path(reader, "state_dir").value_or(node.state_dir);
    reader.refuse_unknown_keys();
}

void read_memory(const toml::table& table, MemoryOptions& memory) {
    TomlReader reader(table, "memory");
    if (!reader.is_auto("size")) {
        memory.size_bytes = reader.size("size");
        if (memory.size_bytes &&
            (*memory.size_bytes < kMinMemoryBytes || *memory.size_bytes > kMaxMemoryBytes)) {
            reader.fail("size", fmt::format("is {}, but must be \"auto\" or from {} to {}",
                                            format_size(*memory.size_bytes), format_size(kMinMemoryBytes),
                                            format_size(kMaxMemoryBytes)));
        }
    }
    if (!reader.is_auto("arena")) memory.arena = read_absolute_path(reader, "arena").value_or("");
    memory.huge_pages = reader.choice<HugePages>("huge_pages", kHugePages).value_or(memory.huge_pages);
    memory.temporary_region_seconds = static_cast<uint32_t>(
        reader.integer("temporary_region_seconds", 1, 86'400).value_or(memory.temporary_region_seconds));
    memory.scrub_pages_per_second = static_cast<uint32_t>(
        reader.integer("scrub_pages_per_second", 0, 10'000'000).value_or(memory.scrub_pages_per_second));
    reader.refuse_unknown_keys();
}

void read_poll(const toml::table& table, PollOptions& poll) {
    TomlReader reader(table, "poll");
    poll.idle = reader.choice<IdlePolicy>("idle", kIdlePolicies).value_or(poll.idle);
    if (!reader.is_auto("lcores")) {
        const auto cpus = reader.integers("lcores", kMaxCpu);
        if (cpus && cpus->empty())
            reader.fail("lcores", "is empty, but must be \"auto\" or name at least one CPU");
        for (const uint64_t cpu : cpus.value_or(std::vector<uint64_t>())) {
            for (const unsigned earlier : poll.lcores) {
                if (earlier == cpu) reader.fail("lcores", fmt::format("names CPU {} twice", cpu));
            }
            poll.lcores.push_back(static_cast<unsigned>(cpu));
        }
    }
    if (!reader.is_auto("control_cpu")) {
        const auto cpu = reader.integer("control_cpu", 0, kMaxCpu);
        if (cpu) poll.control_cpu = static_cast<unsigned>(*cpu);
    }
    reader.refuse_unknown_keys();
}

void read_rdma(const toml::table& table, RdmaOptions& rdma) {
    TomlReader reader(table, "rdma");
    rdma.service_port =
        static_cast<uint16_t>(reader.integer("service_port", 1, UINT16_MAX).value_or(rdma.service_port));
    rdma.max_qps = static_cast<uint32_t>(reader.integer("max_qps", 2, kMaxQps).value_or(rdma.max_qps));
    if ((rdma.max_qps & (rdma.max_qps - 1)) != 0) {
        reader.fail("max_qps",
                    fmt::format("is {}, but must be a power of two from 2 to {}", rdma.max_qps, kMaxQps));
    }
    rdma.responder_resources = static_cast<uint32_t>(
        reader.integer("responder_resources", 1, 128).value_or(rdma.responder_resources));
    rdma.keepalive_seconds = static_cast<uint32_t>(
        reader.integer("keepalive_seconds", 0, 86'400).value_or(rdma.keepalive_seconds));
    reader.refuse_unknown_keys();
}

void read_baseline(const toml::table& table, BaselineOptions& baseline) {
    TomlReader reader(table, "baseline");
    baseline.store = reader.text("store").value_or("");
    if (!baseline.store.empty()) {
        try {
            baseline::parse_store_url(baseline.store);
        } catch (const baseline::StoreError& error) {
            reader.fail("store", error.what());
        }
    }
    baseline.interval_seconds = static_cast<uint32_t>(
        reader.integer("interval_seconds", 0, 7 * 86'400).value_or(baseline.interval_seconds));
    baseline.dirty_percent =
        static_cast<uint32_t>(reader.integer("dirty_percent", 0, 100).value_or(baseline.dirty_percent));
    baseline.bytes_per_s = reader.size("bandwidth").value_or(baseline.bytes_per_s);
    reader.refuse_unknown_keys();
}

std::filesystem::path read_file_name(TomlReader& reader, std::string_view key, bool needed) {
    const std::string text = reader.text(key).value_or("");
    if (text.empty() && needed)
        reader.fail(key,
                    "is missing: by TCP the node API is served only with a certificate, key and client_ca; "
                    "without them everybody on the network could delete regions");
    if (!text.empty() && !text.starts_with('/'))
        reader.fail(key, fmt::format("\"{}\" must be a path from the root", text));
    return text;
}

void read_api(const toml::table& table, ApiOptions& api) {
    TomlReader reader(table, "api");
    const std::string listen = reader.text("listen").value_or("");
    if (!listen.empty()) {
        api.listen = http::parse_tcp_address(listen);
        if (!api.listen || api.listen->port == 0)
            reader.fail("listen", fmt::format("is \"{}\", but must be ADDRESS:PORT, such as "
                                              "\"192.0.2.1:7470\", \"[2001:db8::1]:7470\" or "
                                              "\"0.0.0.0:7470\"",
                                              listen));
    }
    api.certificate = read_file_name(reader, "certificate", api.listen.has_value());
    api.key = read_file_name(reader, "key", api.listen.has_value());
    api.client_ca = read_file_name(reader, "client_ca", api.listen.has_value());
    reader.refuse_unknown_keys();
}

void read_log(const toml::table& table, LogOptions& log) {
    TomlReader reader(table, "log");
    log.level = reader.choice<LogLevel>("level", kLogLevels).value_or(log.level);
    reader.refuse_unknown_keys();
}

// An lcore without a queue would have nothing to do.
void check_queues(const Options& options, const std::string& file_name) {
    uint32_t most = 0;
    for (const PortOptions& port : options.ports)
        most = std::max(most, port.queues);
    if (options.poll.lcores.size() <= most) return;
    throw OptionError(fmt::format(
        "{}: poll.lcores: names {} CPUs, but no port has more than {} queue{}; raise port.queues, or name "
        "fewer CPUs",
        file_name, options.poll.lcores.size(), most, most == 1 ? "" : "s"));
}

Options read_options(const toml::table& root, const std::string& file_name) {
    TomlReader reader(root, "");
    Options options;
    if (const auto* table = reader.table("node")) read_node(*table, options.node);
    if (const auto* table = reader.table("memory")) read_memory(*table, options.memory);
    if (const auto* table = reader.table("poll")) read_poll(*table, options.poll);
    const auto ports = reader.tables("port");
    if (const auto* table = reader.table("rdma")) read_rdma(*table, options.rdma);
    if (const auto* table = reader.table("baseline")) read_baseline(*table, options.baseline);
    if (const auto* table = reader.table("api")) read_api(*table, options.api);
    if (const auto* table = reader.table("log")) read_log(*table, options.log);
    reader.refuse_unknown_keys();

    if (ports.empty())
        throw OptionError(file_name + ": port: there is no [[port]]; lagand needs at least one to serve");
    if (ports.size() > kMaxPorts) {
        throw OptionError(fmt::format("{}: port: {} ports, but at most {} are allowed", file_name,
                                      ports.size(), kMaxPorts));
    }
    for (const toml::table* table : ports)
        read_port(*table, options.ports);
    check_queues(options, file_name);
    return options;
}

}  // namespace

const char* to_string(LogLevel level) {
    for (const auto& [name, value] : kLogLevels) {
        if (value == level) return name.data();
    }
    return "unknown";
}

Options parse_options(std::string_view toml_text, const std::string& file_name,
                      const std::vector<std::string>& settings) {
    toml::table root = parse_toml(toml_text, file_name);
    apply_overrides(root, settings);
    return read_options(root, file_name);
}

Options load_options(const std::filesystem::path& file, const std::vector<std::string>& settings) {
    errno = 0;
    std::ifstream stream(file, std::ios::binary);
    std::string text;
    char block[4096];
    while (stream.good() && text.size() <= kMaxFileBytes) {
        stream.read(block, sizeof block);
        text.append(block, static_cast<size_t>(stream.gcount()));
    }
    if (!stream.eof()) {
        const char* reason = text.size() > kMaxFileBytes ? "larger than 1 MiB" : std::strerror(errno);
        throw OptionError(fmt::format(
            "{}: cannot read the configuration: {}; name another with --config FILE", file.string(), reason));
    }
    return parse_options(text, file.string(), settings);
}

}  // namespace lagan::appliance
