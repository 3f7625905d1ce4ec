// SPDX-License-Identifier: BSD-3-Clause
// lagand's configuration: what config/lagand.toml says, checked. Every error names file, line, column, key
// and what is allowed there.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "datapath/net/address.h"
#include "mgmt/http/tcp_address.h"

namespace lagan::appliance {

enum class HugePages : uint8_t { automatic, on, off };
enum class IdlePolicy : uint8_t { spin, adaptive };
enum class PortKind : uint8_t { vhost, memif, af_packet, tap, virtio_user, pci, vdev };
enum class LogLevel : uint8_t { error, warning, info, debug };

const char* to_string(PortKind kind);
const char* to_string(LogLevel level);

struct NodeOptions {
    std::string name = "appliance";
    std::filesystem::path api_socket = "/run/lagan/lagand.sock";
    std::filesystem::path state_dir = "/var/lib/lagan";  // holds grant.key
};

struct MemoryOptions {
    std::optional<uint64_t>
        size_bytes;               // memory for pages; empty: "auto", three quarters of what is available
    std::filesystem::path arena;  // empty: "auto", hugetlbfs if it has room, else /dev/shm
    HugePages huge_pages = HugePages::automatic;
    uint32_t temporary_region_seconds =
        90;  // without a connection, after which a temporary region is deleted
    uint32_t scrub_pages_per_second = 10'000;  // compared with their CRCs when idle; 0: none
};

// How the arena is opened: from the command line, not the file.
struct StartOptions {
    bool empty_arena = false;
    std::filesystem::path rescue;  // a dead instance's arena, to be read only; empty: none
};

struct PollOptions {
    IdlePolicy idle = IdlePolicy::adaptive;
    std::vector<unsigned> lcores;         // CPU numbers; empty: "auto"
    std::optional<unsigned> control_cpu;  // empty: "auto"
};

struct PortOptions {
    std::string name;
    PortKind kind = PortKind::vhost;
    std::filesystem::path path;  // vhost, memif, virtio_user: the unix socket
    std::string interface;       // af_packet: the kernel's interface; tap: the one to make
    std::string pci;             // pci: the address, "0000:03:00.0"
    std::string devargs;         // more device arguments; vdev: the whole device string
    std::vector<net::IpPrefix> addresses;
    std::optional<net::IpAddress> peer_address;  // a hint which address a client on the other end may use
    uint32_t mtu_bytes = 0;                      // of the IP packet; a default per kind when not given
    uint32_t queues = 1;                         // pairs of receive and transmit queues
};

struct RdmaOptions {
    uint16_t service_port = 7471;  // RDMA CM service (RDMA_PS_TCP); what rping uses too
    uint32_t max_qps = 1024;       // a power of two
    uint32_t responder_resources = 16;
    uint32_t keepalive_seconds = 60;  // of silence, after which a peer is asked for a sign of life; 0: never
};

struct BaselineOptions {
    std::string store;              // URL of the store (mgmt/baseline/store_url.h); empty: no checkpoints
    uint32_t interval_seconds = 0;  // between checkpoints of a region; 0: none by time
    uint32_t dirty_percent = 0;     // of a region's pages, that make one due; 0: none for this
    uint64_t bytes_per_s = 0;       // that checkpoints write at most; 0: no limit
};

// The node API by TCP, where it is always TLS with certificates on both sides.
struct ApiOptions {
    std::optional<http::TcpAddress> listen;  // empty: the unix socket only
    std::filesystem::path certificate, key;  // the node's own, PEM
    std::filesystem::path client_ca;         // whoever has a certificate of this CA may do everything
};

struct LogOptions {
    LogLevel level = LogLevel::info;
};

struct Options {
    NodeOptions node;
    MemoryOptions memory;
    PollOptions poll;
    std::vector<PortOptions> ports;
    RdmaOptions rdma;
    BaselineOptions baseline;
    ApiOptions api;
    LogOptions log;
    StartOptions start;
};

// what() is ready to print: "FILE:LINE:COLUMN: KEY: what is wrong (what is allowed)".
struct OptionError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// `file_name` is what errors call the text. Each of `settings` is "key=value" from the command line, which
// overrides the file: "memory.size=1GiB", or "port.NAME.mtu=1500". Throws OptionError.
Options parse_options(std::string_view toml_text, const std::string& file_name,
                      const std::vector<std::string>& settings = {});

// Reads the file first. Throws OptionError also when it cannot be read.
Options load_options(const std::filesystem::path& file, const std::vector<std::string>& settings = {});

}  // namespace lagan::appliance
