// SPDX-License-Identifier: BSD-3-Clause
// lagan doctor on an appliance, and on grants: each obstacle is found, with its remedy, and not when it is
// not there.
#define BOOST_TEST_MODULE doctor_appliance
#include <linux/capability.h>

#include "appliance/grant.h"
#include "client/doctor/appliance_checks.h"
#include "client/doctor/local_appliance.h"
#include "tests/unit/made_up_machine.h"

using namespace lagan::appliance;
using namespace lagan::client::doctor;
using namespace lagan::test;

namespace {

const std::string kPci = "/sys/bus/pci/devices/0000:03:00.0/";

// The options of one port, and of what else a test names.
Options options_of(const std::string& port, const std::string& more = {}) {
    return parse_options(more + "\n[[port]]\nname = \"p\"\naddresses = [\"10.77.0.1/24\"]\n" + port,
                         "test.toml");
}

Finding of_port(const Machine& machine, const std::string& port) {
    Findings findings;
    check_port(machine, options_of(port).ports.front(), findings);
    return only(findings);
}

const std::string kVhost = "kind = \"vhost\"\npath = \"/run/lagan/p.vhost\"";

Finding of_grant(const MadeUpMachine& machine, const std::string& bytes, uint64_t now = 1000) {
    std::ofstream(machine.at("/g"), std::ios::binary) << bytes;
    Findings findings;
    check_grant(machine.at("/g"), now, findings);
    return only(findings);
}

}  // namespace

BOOST_AUTO_TEST_CASE(configurations) {
    const MadeUpMachine machine;
    machine.write("/good.toml", "[[port]]\n" + kVhost + "\naddresses = [\"10.77.0.1/24\"]");
    machine.write("/bad.toml", "[poll]\nidle = \"lazy\"");
    Findings good, bad, missing, overridden;
    BOOST_TEST(check_configuration(machine.at("/good.toml"), {}, good).has_value());
    expect(only(good), Verdict::ok, "good.toml");
    BOOST_TEST(!check_configuration(machine.at("/bad.toml"), {}, bad).has_value());
    expect(only(bad), Verdict::problem, "bad.toml:2:8: poll.idle", "--check-config");
    check_configuration(machine.at("/none.toml"), {}, missing);
    expect(only(missing), Verdict::problem, "cannot read", "--check-config");
    check_configuration(machine.at("/good.toml"), {"memory.size=much"}, overridden);
    expect(only(overridden), Verdict::problem, "memory.size", "--check-config");
}

BOOST_AUTO_TEST_CASE(cpus_for_lcores) {
    const auto lcores = [](const std::string& poll, const char* cpus) {
        Findings findings;
        check_lcores(options_of(kVhost, "[poll]\n" + poll), synthetic_cpus(cpus), findings);
        return only(findings);
    };
    expect(lcores("", "core:4 pu:1"), Verdict::ok, "CPU 3 polls");
    expect(lcores("lcores = [1]\ncontrol_cpu = 2", "core:4 pu:1"), Verdict::ok, "CPU 1 polls, CPU 2 runs");
    expect(lcores("lcores = [7]", "core:4 pu:1"), Verdict::problem, "CPU 7", "lscpu");
    expect(lcores("", "core:1 pu:1"), Verdict::warning, "as well", "two CPUs");
}

BOOST_AUTO_TEST_CASE(memory_for_pages) {
    const MadeUpMachine machine;
    const auto memory = [&](const std::string& text) {
        Findings findings;
        check_memory(options_of(kVhost, "[memory]\n" + text), findings);
        return only(findings);
    };
    const std::string arena = "arena = \"" + machine.root.string() + "/arena\"\n";
    expect(memory(arena + "size = \"32MiB\""), Verdict::ok, "32 MiB at " + machine.root.string());
    expect(memory(arena + "size = \"4TiB\""), Verdict::problem, "4 TiB are wanted", "memory.size");
    expect(memory("size = \"4TiB\"\nhuge_pages = \"on\""), Verdict::problem, "huge", "\"auto\"");
}

BOOST_AUTO_TEST_CASE(pages_of_2_mib) {
    const MadeUpMachine machine;
    const std::string directory = "/sys/kernel/mm/hugepages/hugepages-2048kB/";
    const auto huge_pages = [&](const std::string& text) {
        Findings findings;
        check_huge_pages(machine, options_of(kVhost, "[memory]\n" + text), findings);
        return only(findings);
    };
    const std::string size = "size = \"1GiB\"\n";
    expect(huge_pages(size), Verdict::warning, "0 of 2 MiB are free", "nr_hugepages");
    expect(huge_pages(""), Verdict::warning, "0 of 2 MiB are free", "echo 1024 ");
    expect(huge_pages(size + "huge_pages = \"on\""), Verdict::problem, "0 of 2 MiB are free", "nr_hugepages");
    expect(huge_pages(size + "huge_pages = \"off\""), Verdict::skipped, "off");
    machine.write(directory + "free_hugepages", "2000");
    machine.write(directory + "nr_hugepages", "2100");
    machine.write("/proc/mounts", "tmpfs /run tmpfs rw 0 0");
    expect(huge_pages(size), Verdict::warning, "no hugetlbfs", "mount -t hugetlbfs");
    machine.write("/proc/mounts",
                  "tmpfs /run tmpfs rw 0 0\nhugetlbfs /dev/hugepages hugetlbfs rw,pagesize=2M 0 0");
    expect(huge_pages(size), Verdict::ok, "2000 of 2 MiB");
    // What is missing comes on top of what is there, free or not.
    const std::string mend = huge_pages("size = \"8GiB\"").mend;
    BOOST_TEST(std::stoul(mend.substr(std::string("echo ").size())) > 4096U + 100U);
}

BOOST_AUTO_TEST_CASE(the_keys_directory) {
    const MadeUpMachine machine;
    const auto state = [&] {
        Findings findings;
        check_state_dir(machine, options_of(kVhost), findings);
        return only(findings);
    };
    expect(state(), Verdict::ok, "will be made");
    fs::create_directories(machine.at("/var/lib/lagan"));
    fs::permissions(machine.at("/var/lib/lagan"), fs::perms(0755));
    expect(state(), Verdict::warning, "open to others", "chmod 700 /var/lib/lagan");
    fs::permissions(machine.at("/var/lib/lagan"), fs::perms(0700));
    expect(state(), Verdict::ok, "for its owner alone");
    machine.remove("/var/lib/lagan");
    machine.write("/var/lib/lagan", "a file");
    expect(state(), Verdict::problem, "no directory", "mv /var/lib/lagan");
}

BOOST_AUTO_TEST_CASE(ports_with_sockets) {
    const MadeUpMachine machine;
    expect(of_port(machine, kVhost), Verdict::ok, "/run/lagan/p.vhost can be made");
    machine.write("/run/lagan/p.vhost", "a file");
    expect(of_port(machine, kVhost), Verdict::problem, "no socket", "rm /run/lagan/p.vhost");
    const std::string user = "kind = \"virtio_user\"\npath = \"/run/switch.sock\"";
    expect(of_port(machine, user), Verdict::problem, "nobody serves", "virtual switch");
    machine.write("/run/switch.sock", "");
    expect(of_port(machine, user), Verdict::ok, "is there");
    expect(of_port(machine, "mtu = 1500\n" + user), Verdict::warning, "4096", "mtu = 4200");
    expect(of_port(machine, "kind = \"vdev\"\ndevargs = \"net_ring0\""), Verdict::ok, "net_ring0");
}

BOOST_AUTO_TEST_CASE(ports_on_interfaces) {
    MadeUpMachine machine;
    const std::string port = "kind = \"af_packet\"\ninterface = \"eth1\"\n";
    expect(of_port(machine, port), Verdict::problem, "no interface eth1", "ip -brief link");
    machine.add_interface("eth1", 1500, false);
    expect(of_port(machine, port), Verdict::problem, "is down", "ip link set dev eth1 up");
    machine.interfaces.back().up = true;
    expect(of_port(machine, port + "mtu = 4200"), Verdict::problem, "is 1500, the port's 4200",
           "ip link set dev eth1 mtu 4200");
    expect(of_port(machine, port), Verdict::problem, "CAP_NET_RAW", "--cap-add NET_RAW");
    machine.superuser = false;
    expect(of_port(machine, port), Verdict::warning, "CAP_NET_RAW", "AmbientCapabilities=CAP_NET_RAW");
    machine.capabilities(1ULL << CAP_NET_RAW);
    expect(of_port(machine, port), Verdict::warning, "no path MTU of 4096", "ip link set dev eth1 mtu 4200");
    machine.interfaces.back().mtu_bytes = 4200;
    expect(of_port(machine, port + "mtu = 4200"), Verdict::ok, "eth1 is up");
}

BOOST_AUTO_TEST_CASE(tap_ports) {
    const MadeUpMachine machine;
    const std::string port = "kind = \"tap\"\ninterface = \"lagan0\"";
    expect(of_port(machine, port), Verdict::problem, "/dev/net/tun", "modprobe tun");
    machine.write("/dev/net/tun", "");
    expect(of_port(machine, port), Verdict::problem, "CAP_NET_ADMIN", "NET_ADMIN");
    machine.capabilities(1ULL << CAP_NET_ADMIN);
    expect(of_port(machine, port), Verdict::ok, "lagan0 can be made");
}

BOOST_AUTO_TEST_CASE(nics) {
    MadeUpMachine machine;
    const std::string port = "kind = \"pci\"\npci = \"03:00.0\"";
    expect(of_port(machine, port), Verdict::problem, "no PCI device 0000:03:00.0", "lspci -D");
    machine.write(kPci + "vendor", "0x8086");
    expect(of_port(machine, port), Verdict::problem, "no driver", "--bind=vfio-pci 0000:03:00.0");
    machine.link(kPci + "driver", "../../../bus/pci/drivers/ixgbe");
    expect(of_port(machine, port), Verdict::problem, "bound to ixgbe", "--bind=ixgbe 0000:03:00.0");
    machine.link(kPci + "driver", "../../../bus/pci/drivers/vfio-pci");
    expect(of_port(machine, port), Verdict::problem, "no IOMMU", "intel_iommu=on");
    machine.write("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y");
    expect(of_port(machine, port), Verdict::ok, "vfio-pci");
    machine.write("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "N");
    machine.link(kPci + "iommu_group", "../../../kernel/iommu_groups/17");
    expect(of_port(machine, port), Verdict::problem, "/dev/vfio/17", "chown");
    machine.write("/dev/vfio/17", "");
    expect(of_port(machine, port), Verdict::ok, "vfio-pci");
    machine.memlock_bytes = 8 << 20;
    expect(of_port(machine, port), Verdict::problem, "locked memory", "memlock=unlimited");
    machine.capabilities(1ULL << CAP_IPC_LOCK);
    expect(of_port(machine, port), Verdict::ok, "vfio-pci");
    expect(of_port(machine, port + "\nmtu = 1500"), Verdict::warning, "4096", "every switch");
}

BOOST_AUTO_TEST_CASE(mellanox_nics_stay_with_their_driver) {
    const MadeUpMachine machine;
    const std::string port = "kind = \"pci\"\npci = \"0000:03:00.0\"";
    machine.write(kPci + "vendor", "0x15b3");
    machine.link(kPci + "driver", "../../../bus/pci/drivers/vfio-pci");
    expect(of_port(machine, port), Verdict::problem, "stays with its kernel driver",
           "--bind=mlx5_core 0000:03:00.0");
    machine.link(kPci + "driver", "../../../bus/pci/drivers/mlx5_core");
    expect(of_port(machine, port), Verdict::ok, "mlx5_core");
}

BOOST_AUTO_TEST_CASE(grants) {
    const MadeUpMachine machine;
    const std::array<uint8_t, GrantKey::kBytes> key{1, 2, 3};
    const GrantBytes signed_bytes =
        GrantKey(key).sign({.role = lagan::Role::write, .region_id = 7, .expiry_unix_s = 2000});
    const std::string good(signed_bytes.begin(), signed_bytes.end());
    expect(of_grant(machine, good), Verdict::ok, "write region 7, for 1000 more seconds");
    expect(of_grant(machine, good, 1999), Verdict::warning, "expires in 1 seconds", "/grants");
    expect(of_grant(machine, good, 2000), Verdict::problem, "expired, 0 seconds ago", "/grants");
    const std::string digits = grant_to_hex(signed_bytes);
    for (const std::string& form :
         {digits, digits + "\n", "{\"grant\": \"" + digits + "\", \"expires\": 2000}\n"})
        expect(of_grant(machine, form), Verdict::ok, "write region 7, for 1000 more seconds");
    for (const std::string& bad :
         {good.substr(1), good + "\n", std::string(), std::string(100'000, 'x'), digits.substr(1),
          "{\"grant\": 7}" + digits, std::string("{\"grant\": 7}"), std::string("[]")})
        expect(of_grant(machine, bad), Verdict::problem, "is no grant", "/grants");
    std::string changed = good;
    changed[0] = 2;
    expect(of_grant(machine, changed), Verdict::problem, "version 2", "/grants");
    changed = good;
    changed[1] = 4;
    expect(of_grant(machine, changed), Verdict::problem, "role 4", "/grants");
    Findings missing;
    BOOST_TEST(!check_grant(machine.at("/nothing"), 0, missing).has_value());
    expect(only(missing), Verdict::problem, "No such file", "/grants");
}

BOOST_AUTO_TEST_CASE(what_an_appliance_offers) {
    const MadeUpMachine machine;
    machine.write("/p.vhost", "");
    const auto look = [](const nlohmann::json& node) {
        Findings findings;
        check_offer(node, findings);
        return findings;
    };
    nlohmann::json node = {{"memory", {{"unclaimed_bytes", 2ULL << 30}}},
                           {"ports",
                            {{{"name", "local0"},
                              {"kind", "vhost"},
                              {"path", machine.at("/p.vhost").string()},
                              {"peer_address", "10.77.0.2"}}}}};
    expect(of(look(node), "appliance port"), Verdict::ok, "local0");
    expect(of(look(node), "far memory"), Verdict::ok, "2 GiB");
    node["memory"]["unclaimed_bytes"] = (64 << 20) + 5;
    expect(of(look(node), "far memory"), Verdict::warning, "lagan run asks for 1 GiB",
           "--region-size 67108864 ");
    node["memory"]["unclaimed_bytes"] = 0;
    expect(of(look(node), "far memory"), Verdict::problem, "none", "no manager's, which is deleted there");
    node["ports"][0]["path"] = machine.at("/elsewhere").string();
    expect(of(look(node), "appliance port"), Verdict::problem, "may not use", "root");
    node["ports"][0]["peer_address"] = nullptr;
    expect(of(look(node), "appliance port"), Verdict::problem, "no port", "peer_address = ");
}
