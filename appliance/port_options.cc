// SPDX-License-Identifier: BSD-3-Clause
#include "appliance/port_options.h"

#include <fmt/format.h>
#include <net/if.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <regex>

namespace lagan::appliance {

namespace {

// What each kind of port wants to know besides the keys that all have.
struct KindInfo {
    std::string_view name;
    PortKind kind;
    std::string_view required;  // the key without which there is no such port
    uint32_t default_mtu;
    uint32_t max_mtu;
};

constexpr uint32_t kMinMtu = 576;  // a CM datagram over IPv6 takes 328 bytes; hosts must take 576 (RFC 791)
constexpr uint32_t kMaxMtu = 9600;
constexpr uint32_t kRoceMtu = 4200;  // room for a path MTU of 4096
constexpr uint32_t kKernelMtu = 1500;
constexpr uint32_t kMaxQueues = 64;

constexpr std::array<KindInfo, 7> kKinds{{
    {"vhost", PortKind::vhost, "path", kRoceMtu, kMaxMtu},
    {"memif", PortKind::memif, "path", kRoceMtu, kMaxMtu},
    {"af_packet", PortKind::af_packet, "interface", kKernelMtu, kMaxMtu},
    {"tap", PortKind::tap, "interface", kKernelMtu, kKernelMtu},  // the driver's receive buffers end there
    {"virtio_user", PortKind::virtio_user, "path", kRoceMtu, kMaxMtu},
    {"pci", PortKind::pci, "pci", kRoceMtu, kMaxMtu},
    {"vdev", PortKind::vdev, "devargs", kRoceMtu, kMaxMtu},
}};

const KindInfo& kind_info(PortKind kind) {
    return kKinds[static_cast<size_t>(kind)];
}

// Device arguments are separated by commas and grouped by brackets; text with those in it would become other
// arguments.
bool fits_device_arguments(std::string_view text) {
    return std::none_of(text.begin(), text.end(), [](char c) {
        return c <= ' ' || c == 0x7f || c == ',' || c == '[' || c == ']' || c == '"' || c == '\'' || c == '=';
    });
}

void read_interface(TomlReader& reader, PortOptions& port) {
    port.interface = reader.text("interface").value_or("");
    if (port.interface.empty()) return;
    if (port.interface.size() >= IFNAMSIZ || !fits_device_arguments(port.interface) ||
        port.interface.find('/') != std::string::npos) {
        reader.fail("interface",
                    fmt::format("\"{}\" is not an interface name: 1 to {} characters without spaces, "
                                "slashes and commas, such as \"eth1\"",
                                port.interface, IFNAMSIZ - 1));
    }
}

void read_pci(TomlReader& reader, PortOptions& port) {
    static const std::regex kAddress("([0-9a-fA-F]{4}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\\.[0-7]");
    port.pci = reader.text("pci").value_or("");
    if (!port.pci.empty() && !std::regex_match(port.pci, kAddress)) {
        reader.fail(
            "pci",
            fmt::format("\"{}\" is not a PCI address, such as \"0000:03:00.0\" (see: lspci -D)", port.pci));
    }
}

void read_device_arguments(TomlReader& reader, PortOptions& port) {
    port.devargs = reader.text("devargs").value_or("");
    if (port.devargs.find_first_of(" \t\n\r") != std::string::npos) {
        reader.fail("devargs", fmt::format("\"{}\" contains white space; arguments are separated by commas",
                                           port.devargs));
    }
    if (port.kind == PortKind::vdev && !port.devargs.empty() && !port.devargs.starts_with("net_")) {
        reader.fail(
            "devargs",
            fmt::format("\"{}\" is not a network device: for kind = \"vdev\" it starts with a driver's "
                        "name, such as \"net_ring0\"",
                        port.devargs));
    }
}

// Keys of other kinds are mistakes: nobody would obey them.
void check_keys_of_kind(const TomlReader& reader, const toml::table& table, const PortOptions& port) {
    const std::string_view required = kind_info(port.kind).required;
    for (const std::string_view key : {"path", "interface", "pci", "devargs"}) {
        if (key == required && !table.contains(key)) {
            reader.fail(key, fmt::format("is missing: a port of kind \"{}\" needs it", to_string(port.kind)));
        }
        if (key != required && key != "devargs" && table.contains(key)) {
            reader.fail(key, fmt::format("means nothing to a port of kind \"{}\", which goes by '{}'",
                                         to_string(port.kind), required));
        }
    }
    if (table.contains(required) && table.at_path(required).value_or(std::string()).empty()) {
        reader.fail(required, "is empty");
    }
}

void read_addresses(TomlReader& reader, const std::vector<PortOptions>& ports, PortOptions& port) {
    for (const std::string& text : reader.texts("addresses").value_or(std::vector<std::string>())) {
        try {
            port.addresses.push_back(net::IpPrefix::parse(text));
        } catch (const std::invalid_argument& error) {
            reader.fail("addresses", error.what());
        }
        const net::IpAddress& added = port.addresses.back().address;
        const auto same = [&added](const net::IpPrefix& prefix) { return prefix.address == added; };
        const bool twice = std::count_if(port.addresses.begin(), port.addresses.end(), same) > 1;
        if (twice || std::any_of(ports.begin(), ports.end(), [&same](const PortOptions& other) {
                return std::any_of(other.addresses.begin(), other.addresses.end(), same);
            })) {
            reader.fail("addresses", fmt::format("{} is given twice; every address belongs to one port",
                                                 added.to_string()));
        }
    }
    if (port.addresses.empty()) {
        reader.fail("addresses", "is missing: the port needs at least one, such as [\"10.77.0.1/24\"]");
    }
}

void read_peer_address(TomlReader& reader, PortOptions& port) {
    const auto text = reader.text("peer_address");
    if (!text) return;
    try {
        port.peer_address = net::IpAddress::parse(*text);
    } catch (const std::invalid_argument& error) {
        reader.fail("peer_address", error.what());
    }
    const auto holds_it = [&port](const net::IpPrefix& prefix) {
        return prefix.contains(*port.peer_address);
    };
    const auto is_it = [&port](const net::IpPrefix& prefix) { return prefix.address == *port.peer_address; };
    if (std::none_of(port.addresses.begin(), port.addresses.end(), holds_it)) {
        reader.fail("peer_address",
                    fmt::format("{} is in none of the networks of this port's addresses", *text));
    }
    if (std::any_of(port.addresses.begin(), port.addresses.end(), is_it)) {
        reader.fail("peer_address",
                    fmt::format("{} is this port's own address; the other end needs one of its own", *text));
    }
}

void read_mtu_and_queues(TomlReader& reader, PortOptions& port) {
    const KindInfo& info = kind_info(port.kind);
    port.mtu_bytes =
        static_cast<uint32_t>(reader.integer("mtu", kMinMtu, info.max_mtu).value_or(info.default_mtu));
    port.queues = static_cast<uint32_t>(reader.integer("queues", 1, kMaxQueues).value_or(port.queues));
    const bool one_only = port.kind == PortKind::tap || port.kind == PortKind::virtio_user;
    if (one_only && port.queues != 1)
        reader.fail("queues", fmt::format("must be 1 for kind \"{}\"", info.name));
}

void check_not_taken(const TomlReader& reader, const std::vector<PortOptions>& ports,
                     const PortOptions& port) {
    for (const PortOptions& other : ports) {
        if (other.name == port.name) {
            reader.fail("name",
                        fmt::format("\"{}\" is the name of another port; names must differ", port.name));
        }
        if (!port.path.empty() && other.path == port.path) {
            reader.fail("path",
                        fmt::format("{} belongs to port \"{}\" already", port.path.string(), other.name));
        }
        if (!port.interface.empty() && other.interface == port.interface) {
            reader.fail("interface",
                        fmt::format("{} belongs to port \"{}\" already", port.interface, other.name));
        }
        if (!port.pci.empty() && other.pci == port.pci) {
            reader.fail("pci", fmt::format("{} belongs to port \"{}\" already", port.pci, other.name));
        }
    }
}

}  // namespace

const char* to_string(PortKind kind) {
    return kind_info(kind).name.data();
}

std::optional<std::string> read_name(TomlReader& reader, std::string_view key) {
    static const std::regex kName("[A-Za-z0-9][A-Za-z0-9._-]{0,62}");
    auto name = reader.text(key);
    if (name && !std::regex_match(*name, kName)) {
        reader.fail(
            key, fmt::format("\"{}\" is not a name: 1 to 63 letters, digits, dots, dashes and underscores, "
                             "starting with a letter or digit",
                             *name));
    }
    return name;
}

std::optional<std::filesystem::path> read_absolute_path(TomlReader& reader, std::string_view key) {
    const auto text = reader.text(key);
    if (!text) return std::nullopt;
    if (!text->starts_with('/') || !fits_device_arguments(*text)) {
        reader.fail(
            key, fmt::format(
                     "\"{}\" must be a path from the root, without spaces, commas, quotes, brackets and '='",
                     *text));
    }
    return std::filesystem::path(*text).lexically_normal();
}

std::optional<std::filesystem::path> read_socket_path(TomlReader& reader, std::string_view key) {
    constexpr size_t kMaxSocketPath = sizeof(sockaddr_un::sun_path) - 1;
    auto path = read_absolute_path(reader, key);
    if (path && path->native().size() > kMaxSocketPath) {
        reader.fail(key, fmt::format("is {} characters long; a unix socket's path has at most {}",
                                     path->native().size(), kMaxSocketPath));
    }
    return path;
}

void read_port(const toml::table& table, std::vector<PortOptions>& ports) {
    TomlReader reader(table, "port");
    std::vector<NamedValue<PortKind>> kinds;
    for (const KindInfo& info : kKinds)
        kinds.push_back({info.name, info.kind});

    PortOptions port;
    const auto kind = reader.choice<PortKind>("kind", kinds);
    port.kind = kind.value_or(port.kind);
    port.name = read_name(reader, "name").value_or(fmt::format("{}{}", to_string(port.kind), ports.size()));
    port.path = read_socket_path(reader, "path").value_or("");
    read_interface(reader, port);
    read_pci(reader, port);
    if (!kind) reader.fail("kind", "is missing: one of vhost, memif, af_packet, tap, virtio_user, pci, vdev");
    read_device_arguments(reader, port);
    read_addresses(reader, ports, port);
    read_peer_address(reader, port);
    read_mtu_and_queues(reader, port);
    reader.refuse_unknown_keys();
    check_keys_of_kind(reader, table, port);
    check_not_taken(reader, ports, port);
    ports.push_back(std::move(port));
}

}  // namespace lagan::appliance
