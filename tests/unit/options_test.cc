// SPDX-License-Identifier: BSD-3-Clause
// The configuration is taken as written or refused with a line that says where, which key, and what is
// allowed.
#define BOOST_TEST_MODULE options
#include "appliance/options.h"

#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "appliance/size_text.h"

using namespace lagan::appliance;

namespace {

// The smallest configuration there is; cases put their own lines before or after it.
const std::string kPort = "[[port]]\nkind = \"vhost\"\npath = \"/run/v\"\naddresses = [\"10.0.0.1/24\"]\n";

std::string error_of(const std::string& text, const std::vector<std::string>& settings = {}) {
    try {
        parse_options(text, "x.toml", settings);
    } catch (const OptionError& error) {
        return error.what();
    }
    return "no error";
}

struct BadCase {
    const char* name;
    std::string text;
    std::vector<std::string> parts;  // all of them are in the error
};

std::string port_with(const std::string& lines) {
    return kPort + lines + "\n";
}

}  // namespace

BOOST_AUTO_TEST_CASE(the_smallest_configuration_gets_the_documented_defaults) {
    const Options options = parse_options(kPort, "x.toml");
    BOOST_TEST(options.node.name == "appliance");
    BOOST_TEST(options.node.api_socket == "/run/lagan/lagand.sock");
    BOOST_TEST(options.node.state_dir == "/var/lib/lagan");
    BOOST_TEST(!options.memory.size_bytes);
    BOOST_TEST(options.memory.arena.empty());
    BOOST_TEST((options.memory.huge_pages == HugePages::automatic));
    BOOST_TEST((options.poll.idle == IdlePolicy::adaptive));
    BOOST_TEST(options.poll.lcores.empty());
    BOOST_TEST(!options.poll.control_cpu);
    BOOST_TEST(options.rdma.service_port == 7471u);
    BOOST_TEST(options.rdma.max_qps == 1024u);
    BOOST_TEST(options.rdma.responder_resources == 16u);
    BOOST_TEST((options.log.level == LogLevel::info));
    BOOST_REQUIRE(options.ports.size() == 1u);
    BOOST_TEST(options.ports[0].name == "vhost0");
    BOOST_TEST(options.ports[0].mtu_bytes == 4200u);
    BOOST_TEST(options.ports[0].queues == 1u);
    BOOST_TEST(!options.ports[0].peer_address);
}

BOOST_AUTO_TEST_CASE(every_key_is_read) {
    const Options options = parse_options(R"(
[node]
name = "n1"
api_socket = "/tmp/../tmp/api.sock"
state_dir = "/tmp/state"
[memory]
size = "1.5GiB"
arena = "/mnt/huge"
huge_pages = "on"
[poll]
idle = "spin"
lcores = [3, 1]
control_cpu = 0
[[port]]
name = "a"
kind = "af_packet"
interface = "eth1"
addresses = ["10.0.0.1/24", "fd00::1/64"]
peer_address = "fd00::2"
mtu = 9000
queues = 2
[[port]]
kind = "pci"
pci = "0000:03:00.1"
devargs = "dv_flow_en=1"
addresses = ["10.0.1.1/24"]
[rdma]
service_port = 18515
max_qps = 64
responder_resources = 128
[api]
listen = "[::1]:7470"
certificate = "/c.pem"
key = "/k.pem"
client_ca = "/ca.pem"
[log]
level = "debug"
)",
                                          "x.toml");
    BOOST_TEST(options.node.api_socket == "/tmp/api.sock");
    BOOST_TEST(options.memory.size_bytes.value() == 1536ULL << 20);
    BOOST_TEST(options.memory.arena == "/mnt/huge");
    BOOST_TEST((options.memory.huge_pages == HugePages::on));
    BOOST_TEST((options.poll.idle == IdlePolicy::spin));
    BOOST_TEST((options.poll.lcores == std::vector<unsigned>{3, 1}));
    BOOST_TEST(options.poll.control_cpu.value() == 0u);
    BOOST_REQUIRE(options.ports.size() == 2u);
    BOOST_TEST(options.ports[0].interface == "eth1");
    BOOST_TEST(options.ports[0].addresses.size() == 2u);
    BOOST_TEST(options.ports[0].peer_address->to_string() == "fd00::2");
    BOOST_TEST(options.ports[0].mtu_bytes == 9000u);
    BOOST_TEST(options.ports[0].queues == 2u);
    BOOST_TEST(options.ports[1].name == "pci1");
    BOOST_TEST(options.ports[1].devargs == "dv_flow_en=1");
    BOOST_TEST(options.rdma.service_port == 18515u);
    BOOST_TEST((options.api.listen.value() == lagan::http::TcpAddress{"::1", 7470}));
    BOOST_TEST(options.api.client_ca == "/ca.pem");
    BOOST_TEST((options.log.level == LogLevel::debug));
}

BOOST_AUTO_TEST_CASE(errors_name_file_line_column_key_and_what_is_allowed) {
    const std::vector<BadCase> cases = {
        {"syntax", "[node\nname = 1", {"x.toml:1:", "not valid TOML"}},
        {"a key twice", "[node]\nname = \"a\"\nname = \"b\"\n" + kPort, {"x.toml:3:", "not valid TOML"}},
        {"not UTF-8", "[node]\nname = \"\xff\xfe\"\n", {"x.toml:2:", "not valid TOML"}},
        {"NUL", std::string("[node]\nname = \"a\0b\"\n", 18), {"x.toml:2:"}},
        {"nesting", "a = " + std::string(5000, '['), {"x.toml:1:", "not valid TOML"}},
        {"no port", "[node]\nname = \"a\"\n", {"x.toml: port: there is no [[port]]"}},
        {"empty", "", {"x.toml: port: there is no [[port]]"}},
        {"an address without a port",
         "[api]\nlisten = \"0.0.0.0\"\n" + kPort,
         {"x.toml:2:10: api.listen: is \"0.0.0.0\", but must be ADDRESS:PORT"}},
        {"a name", "[api]\nlisten = \"localhost:1\"\n" + kPort, {"api.listen: is \"localhost:1\""}},
        {"TCP without a certificate",
         "[api]\nlisten = \"127.0.0.1:1\"\nkey = \"/k\"\nclient_ca = \"/a\"\n" + kPort,
         {"api.certificate: is missing"}},
        {"TCP without a key",
         "[api]\nlisten = \"127.0.0.1:1\"\ncertificate = \"/c\"\nclient_ca = \"/a\"\n" + kPort,
         {"api.key: is missing"}},
        {"TCP for everybody",
         "[api]\nlisten = \"127.0.0.1:1\"\ncertificate = \"/c\"\nkey = \"/k\"\n" + kPort,
         {"api.client_ca: is missing", "everybody on the network"}},
        {"a path from nowhere",
         "[api]\nkey = \"k.pem\"\n" + kPort,
         {"x.toml:2:7: api.key: \"k.pem\" must be a path from the root"}},
        {"a section misspelt",
         "[memroy]\nsize = 1\n" + kPort,
         {"x.toml:1:2: memroy: unknown key, did you mean 'memory'?"}},
        {"a key misspelt",
         "[memory]\nsiez = \"1G\"\n" + kPort,
         {"x.toml:2:1: memory.siez: unknown key, did you mean 'size'?; known here: size, arena, huge_pages"}},
        {"a key from nowhere",
         "[node]\nxyzzy = 1\n" + kPort,
         {"x.toml:2:1: node.xyzzy: unknown key; known here: name"}},
        {"a section that is a value",
         "node = 1\n" + kPort,
         {"x.toml:1:8: node: is a whole number", "[node]"}},
        {"port as a table", "[port]\nkind = \"vhost\"\n", {"x.toml:1:1: port: is a table", "[[port]]"}},
        {"size",
         "[memory]\nsize = \"12XB\"\n" + kPort,
         {"x.toml:2:8: memory.size: \"12XB\" is not a size", "GiB"}},
        {"negative size", "[memory]\nsize = -1\n" + kPort, {"x.toml:2:8: memory.size", "a size"}},
        {"tiny size",
         "[memory]\nsize = \"4KiB\"\n" + kPort,
         {"x.toml:2:8: memory.size: is 4 KiB", "from 32 MiB to 4 TiB"}},
        {"vast size", "[memory]\nsize = \"4000TiB\"\n" + kPort, {"x.toml:2:8: memory.size", "to 4 TiB"}},
        {"huge pages",
         "[memory]\nhuge_pages = true\n" + kPort,
         {"x.toml:2:14: memory.huge_pages: is true or false", "one of \"auto\", \"on\", \"off\""}},
        {"relative arena",
         "[memory]\narena = \"huge\"\n" + kPort,
         {"x.toml:2:9: memory.arena", "from the root"}},
        {"idle",
         "[poll]\nidle = \"lazy\"\n" + kPort,
         {"x.toml:2:8: poll.idle: is \"lazy\", but must be one of \"adaptive\", \"spin\""}},
        {"lcores text",
         "[poll]\nlcores = \"2-4\"\n" + kPort,
         {"x.toml:2:10: poll.lcores: is text", "\"auto\" or a list"}},
        {"more lcores than queues",
         "[poll]\nlcores = [1, 2]\n" + kPort,
         {"x.toml: poll.lcores: names 2 CPUs, but no port has more than 1 queue"}},
        {"lcores empty", "[poll]\nlcores = []\n" + kPort, {"x.toml:2:10: poll.lcores: is empty"}},
        {"lcores twice",
         "[poll]\nlcores = [1, 1]\n" + kPort,
         {"x.toml:2:10: poll.lcores: names CPU 1 twice"}},
        {"lcores range",
         "[poll]\nlcores = [1, 99999]\n" + kPort,
         {"x.toml:2:14: poll.lcores: contains 99999", "4095"}},
        {"lcores type", "[poll]\nlcores = [1, \"2\"]\n" + kPort, {"x.toml:2:14: poll.lcores: is text"}},
        {"control",
         "[poll]\ncontrol_cpu = -1\n" + kPort,
         {"x.toml:2:15: poll.control_cpu: is -1", "from 0 to 4095"}},
        {"service port",
         "[rdma]\nservice_port = 65536\n" + kPort,
         {"x.toml:2:16: rdma.service_port", "from 1 to 65535"}},
        {"service port 0", "[rdma]\nservice_port = 0\n" + kPort, {"x.toml:2:16: rdma.service_port: is 0"}},
        {"max_qps",
         "[rdma]\nmax_qps = 1000\n" + kPort,
         {"x.toml:2:11: rdma.max_qps: is 1000", "power of two"}},
        {"resources",
         "[rdma]\nresponder_resources = 0\n" + kPort,
         {"x.toml:2:23: rdma.responder_resources", "from 1 to 128"}},
        {"log level",
         "[log]\nlevel = \"loud\"\n" + kPort,
         {"x.toml:2:9: log.level", "\"error\", \"warning\""}},
        {"node name", "[node]\nname = \"a b\"\n" + kPort, {"x.toml:2:8: node.name: \"a b\" is not a name"}},
        {"node name type",
         "[node]\nname = 5\n" + kPort,
         {"x.toml:2:8: node.name: is a whole number, but must be text"}},
        {"socket path",
         "[node]\napi_socket = \"/" + std::string(108, 'a') + "\"\n" + kPort,
         {"x.toml:2:14: node.api_socket: is 109 characters long", "at most 107"}},
        {"path with a comma",
         "[[port]]\nkind = \"vhost\"\npath = \"/a,client=1\"\n",
         {"x.toml:3:8: port.path"}},
        {"kind",
         "[[port]]\nkind = \"vhots\"\n",
         {"x.toml:2:8: port.kind: is \"vhots\"", "\"vhost\", \"memif\""}},
        {"no kind", "[[port]]\npath = \"/a\"\n", {"x.toml:1:1: port.kind: is missing", "virtio_user"}},
        {"no path",
         "[[port]]\nkind = \"vhost\"\naddresses = [\"10.0.0.1/8\"]\n",
         {"x.toml:1:1: port.path: is missing: a port of kind \"vhost\" needs it"}},
        {"no interface",
         "[[port]]\nkind = \"tap\"\naddresses = [\"10.0.0.1/8\"]\n",
         {"port.interface: is missing"}},
        {"no devargs",
         "[[port]]\nkind = \"vdev\"\naddresses = [\"10.0.0.1/8\"]\n",
         {"port.devargs: is missing"}},
        {"wrong devargs",
         "[[port]]\nkind = \"vdev\"\ndevargs = \"crypto_x\"\n",
         {"x.toml:3:11: port.devargs", "net_ring0"}},
        {"empty interface",
         "[[port]]\nkind = \"tap\"\ninterface = \"\"\naddresses = [\"10.0.0.1/8\"]\n",
         {"x.toml:3:13: port.interface: is empty"}},
        {"a key of another kind",
         port_with("interface = \"eth0\""),
         {"x.toml:5:13: port.interface: means nothing to a port of kind \"vhost\", which goes by 'path'"}},
        {"interface name",
         "[[port]]\nkind = \"tap\"\ninterface = \"a/b\"\n",
         {"x.toml:3:13: port.interface: \"a/b\""}},
        {"long interface name",
         "[[port]]\nkind = \"tap\"\ninterface = \"abcdefghijklmnop\"\n",
         {"1 to 15 characters"}},
        {"pci",
         "[[port]]\nkind = \"pci\"\npci = \"03:00\"\n",
         {"x.toml:3:7: port.pci: \"03:00\" is not a PCI address"}},
        {"no addresses",
         "[[port]]\nkind = \"vhost\"\npath = \"/a\"\n",
         {"x.toml:1:1: port.addresses: is missing"}},
        {"address without prefix",
         "[[port]]\nkind = \"vhost\"\npath = \"/a\"\naddresses = [\"10.0.0.1\"]\n",
         {"x.toml:4:13: port.addresses: \"10.0.0.1\""}},
        {"addresses as text",
         "[[port]]\nkind = \"vhost\"\npath = \"/a\"\naddresses = \"10.0.0.1/8\"\n",
         {"x.toml:4:13: port.addresses: is text, but must be a list of texts"}},
        {"address twice",
         "[[port]]\nkind = \"vhost\"\npath = \"/a\"\naddresses = [\"10.0.0.1/8\", \"10.0.0.1/24\"]\n",
         {"port.addresses: 10.0.0.1 is given twice"}},
        {"address on two ports",
         kPort + "[[port]]\nkind = \"vhost\"\npath = \"/b\"\naddresses = [\"10.0.0.1/8\"]\n",
         {"x.toml:8:13: port.addresses: 10.0.0.1 is given twice"}},
        {"path on two ports",
         kPort + "[[port]]\nkind = \"vhost\"\npath = \"/run/v\"\naddresses = [\"10.1.0.1/8\"]\n",
         {"x.toml:7:8: port.path: /run/v belongs to port \"vhost0\" already"}},
        {"name on two ports",
         kPort +
             "[[port]]\nname = \"vhost0\"\nkind = \"vhost\"\npath = \"/b\"\naddresses = [\"10.1.0.1/8\"]\n",
         {"x.toml:6:8: port.name: \"vhost0\" is the name of another port"}},
        {"peer elsewhere",
         port_with("peer_address = \"10.9.0.2\""),
         {"x.toml:5:16: port.peer_address: 10.9.0.2 is in none"}},
        {"peer is us",
         port_with("peer_address = \"10.0.0.1\""),
         {"port.peer_address: 10.0.0.1 is this port's own"}},
        {"peer is no address", port_with("peer_address = \"x\""), {"x.toml:5:16: port.peer_address: \"x\""}},
        {"mtu",
         port_with("mtu = 100"),
         {"x.toml:5:7: port.mtu: is 100, but must be a whole number from 576 to 9600"}},
        {"mtu of a tap",
         "[[port]]\nkind = \"tap\"\ninterface = \"t\"\nmtu = 4200\naddresses = [\"10.0.0.1/8\"]\n",
         {"port.mtu: is 4200", "from 576 to 1500"}},
        {"queues",
         port_with("queues = 0"),
         {"x.toml:5:10: port.queues: is 0, but must be a whole number from 1 to 64"}},
        {"fraction", port_with("mtu = 1500.5"), {"x.toml:5:7: port.mtu: is a fraction"}},
        {"date", port_with("mtu = 2024-01-01"), {"x.toml:5:7: port.mtu: is a date"}},
    };
    for (const BadCase& test : cases) {
        const std::string error = error_of(test.text);
        for (const std::string& part : test.parts) {
            BOOST_TEST(error.find(part) != std::string::npos,
                       test.name << ": \"" << part << "\" is not in: " << error);
        }
        BOOST_TEST(error.find('\n') == std::string::npos, test.name << ": more than one line: " << error);
    }
}

BOOST_AUTO_TEST_CASE(the_command_line_overrides_the_file) {
    const std::string file =
        "[memory]\nsize = \"1GiB\"\narena = \"/a\"\n[[port]]\nname = \"p\"\n" + kPort.substr(9);
    const Options options = parse_options(
        file, "x.toml",
        {"memory.size=64MiB", "poll.idle=spin", "port.p.mtu=1500", "node.name=\"n2\"", "rdma.max_qps = 32",
         "rdma.max_qps=64", "poll.lcores=[1, 2]", "port.p.queues=2", "port.p.addresses=['10.1.0.1/24']"});
    BOOST_TEST(options.memory.size_bytes.value() == 64ULL << 20);
    BOOST_TEST(options.memory.arena == "/a");
    BOOST_TEST((options.poll.idle == IdlePolicy::spin));
    BOOST_TEST((options.poll.lcores == std::vector<unsigned>{1, 2}));
    BOOST_TEST(options.node.name == "n2");
    BOOST_TEST(options.rdma.max_qps == 64u);
    BOOST_TEST(options.ports[0].mtu_bytes == 1500u);
    BOOST_TEST(options.ports[0].path == "/run/v");
    BOOST_TEST(options.ports[0].addresses[0].address.to_string() == "10.1.0.1");
}

BOOST_AUTO_TEST_CASE(a_wrong_override_is_named_as_such) {
    const std::vector<BadCase> cases = {
        {"no value", "memory.size", {"--set memory.size: write --set KEY=VALUE"}},
        {"no key", "=1", {"--set =1: write --set KEY=VALUE"}},
        {"unknown", "memory.siez=1", {"--set memory.siez=1: memory.siez: unknown key, did you mean 'size'?"}},
        {"value", "memory.size=12XB", {"--set memory.size=12XB: memory.size: \"12XB\" is not a size"}},
        {"type", "node.name=5", {"--set node.name=5: node.name: is a whole number"}},
        {"no such port",
         "port.nobody.mtu=1500",
         {"--set port.nobody.mtu=1500: there is no [[port]] with name = \"nobody\""}},
        {"a port's whole", "port.p=1", {"--set port.p=1: there is no [[port]]"}},
        {"all ports", "port=1", {"--set port=1: port: is a whole number"}},
        {"key syntax", "a..b=1", {"--set a..b=1", "not valid TOML"}},
        {"two lines", "node.name=\"a\"\n[memory]", {"line breaks"}},
    };
    for (const BadCase& test : cases) {
        const std::string error = error_of("[[port]]\nname = \"p\"\n" + kPort.substr(9), {test.text});
        for (const std::string& part : test.parts) {
            BOOST_TEST(error.find(part) != std::string::npos,
                       test.name << ": \"" << part << "\" is not in: " << error);
        }
    }
}

BOOST_AUTO_TEST_CASE(a_missing_file_is_named) {
    const auto names_it = [](const OptionError& error) {
        return std::string(error.what())
                   .find("/nonexistent/x.toml: cannot read the configuration: No such file") == 0;
    };
    BOOST_CHECK_EXCEPTION(load_options("/nonexistent/x.toml"), OptionError, names_it);
    BOOST_CHECK_THROW(load_options("/tmp"), OptionError);
    BOOST_CHECK_THROW(load_options("/dev/zero"), OptionError);
}

BOOST_AUTO_TEST_CASE(the_examples_are_good_and_show_the_defaults) {
    const std::filesystem::path config = std::filesystem::path(LAGAN_SOURCE_DIR) / "config";
    const Options example = load_options(config / "lagand.toml");
    const Options defaults = parse_options(kPort, "x.toml");
    BOOST_TEST(example.node.name == defaults.node.name);
    BOOST_TEST(example.node.api_socket == defaults.node.api_socket);
    BOOST_TEST(example.node.state_dir == defaults.node.state_dir);
    BOOST_TEST((example.memory.size_bytes == defaults.memory.size_bytes));
    BOOST_TEST((example.poll.idle == defaults.poll.idle));
    BOOST_TEST(example.ports[0].mtu_bytes == defaults.ports[0].mtu_bytes);
    BOOST_TEST(example.rdma.service_port == defaults.rdma.service_port);
    BOOST_TEST(example.rdma.max_qps == defaults.rdma.max_qps);
    BOOST_TEST(example.rdma.responder_resources == defaults.rdma.responder_resources);
    BOOST_TEST((example.log.level == defaults.log.level));

    const Options demo =
        load_options(config / "demo.toml", {"port.local0.path=/tmp/other.vhost", "memory.size=64MiB"});
    BOOST_REQUIRE(demo.ports.size() == 1u);
    BOOST_TEST(demo.ports[0].path == "/tmp/other.vhost");
    BOOST_TEST(demo.memory.size_bytes.value() == 64ULL << 20);
}

BOOST_AUTO_TEST_CASE(sizes_with_units) {
    const std::vector<std::pair<const char*, uint64_t>> good = {
        {"0", 0},
        {"4096", 4096},
        {"1K", 1024},
        {"1KiB", 1024},
        {"1kb", 1000},
        {"64MiB", 64u << 20},
        {" 2 GiB ", 2ULL << 30},
        {"1.5GiB", 1536ULL << 20},
        {"0.5k", 512},
        {"1T", 1ULL << 40},
        {"500MB", 500'000'000},
        {"8388607TiB", 8388607ULL << 40},
        {"7B", 7},
    };
    for (const auto& [text, bytes] : good)
        BOOST_TEST(parse_size(text).value_or(~0ULL) == bytes, text);
    for (const char* text : {"",
                             " ",
                             "-1",
                             "+1",
                             "GiB",
                             "1 2",
                             "1XB",
                             "1e3",
                             "0x10",
                             "1..5G",
                             "1.G",
                             ".5G",
                             "0.3",
                             "1.0000001K",
                             "8388608TiB",
                             "99999999999999999999",
                             "9223372036854775808",
                             "1GiBs",
                             "inf",
                             "nan"}) {
        BOOST_TEST(!parse_size(text).has_value(), text);
    }
    BOOST_TEST(format_size(0) == "0 bytes");
    BOOST_TEST(format_size(4095) == "4095 bytes");  // nobody reads "4.00 KiB" as one byte less
    BOOST_TEST(format_size(1ULL << 30) == "1 GiB");
    BOOST_TEST(format_size(1536ULL << 20) == "1.50 GiB");
}
