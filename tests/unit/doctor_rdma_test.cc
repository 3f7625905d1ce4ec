// SPDX-License-Identifier: BSD-3-Clause
// lagan doctor on RDMA devices: none, closed, down, a small MTU, and tables of GIDs that do not fit.
#define BOOST_TEST_MODULE doctor_rdma
#include "client/doctor/rdma_devices.h"
#include "tests/unit/made_up_machine.h"

using namespace lagan::client::doctor;
using namespace lagan::test;

namespace {

const std::string kPort = "/sys/class/infiniband/rxe0/ports/1";

// A host with soft-RoCE on eth0 where everything is as it should be.
struct Host : MadeUpMachine {
    explicit Host(unsigned mtu = 4200) {
        add_interface("lo", 65536, true, "127.0.0.1");
        add_interface("eth0", mtu, true, "10.77.0.2");
        write(kPort + "/state", "4: ACTIVE");
        add_gid(0, "fe80:0000:0000:0000:0011:22ff:fe33:4455", "RoCE v2");
        add_gid(1, "0000:0000:0000:0000:0000:ffff:0a4d:0002", "RoCE v2");
        add_gid(2, "0000:0000:0000:0000:0000:0000:0000:0000", "");
        write("/dev/infiniband/uverbs0", "");
        write("/dev/infiniband/rdma_cm", "");
        write("/etc/libibverbs.d/rxe.driver", "driver rxe");
    }
    void add_gid(int index, const std::string& gid, const std::string& type) const {
        const std::string number = std::to_string(index);
        write(kPort + "/gids/" + number, gid);
        write(kPort + "/gid_attrs/types/" + number, type);
        write(kPort + "/gid_attrs/ndevs/" + number, type.empty() ? "" : "eth0");
    }
};

Findings look(const Machine& machine, bool needed = true) {
    Findings findings;
    check_rdma(machine, needed, findings);
    return findings;
}

const std::string kName = "rdma port rxe0/1", kMtu = kName + ", mtu", kGids = kName + ", gid table";

}  // namespace

BOOST_AUTO_TEST_CASE(a_good_host) {
    const Findings findings = look(Host());
    BOOST_TEST(findings.count(Verdict::ok) == findings.all().size());
    expect(of(findings, kMtu), Verdict::ok, "4096");
    expect(of(findings, kGids), Verdict::ok, "10.77.0.2");
}

BOOST_AUTO_TEST_CASE(no_device) {
    MadeUpMachine machine;
    machine.add_interface("lo", 65536, true, "127.0.0.1");
    machine.add_interface("eth1", 1500, false);
    machine.add_interface("eth2", 1500, true, "10.77.0.2");
    expect(only(look(machine)), Verdict::problem, "none", "has no module rdma_rxe");
    expect(only(look(machine, false)), Verdict::warning, "this same machine", "linux-image-amd64");
    machine.write("/proc/sys/kernel/osrelease", "6.1.0-18-cloud-amd64");
    expect(only(look(machine)), Verdict::problem, "none", "Debian's kernel for clouds");
    machine.write("/proc/sys/kernel/osrelease", "6.1.0-18-amd64");
    machine.write("/lib/modules/6.1.0-18-amd64/modules.dep",
                  "kernel/drivers/infiniband/sw/rxe/rdma_rxe.ko: a.ko");
    expect(only(look(machine)), Verdict::problem, "none",
           "sudo modprobe rdma_rxe && sudo rdma link add rxe0 type rxe netdev eth2");
    BOOST_TEST(only(look(machine)).mend.find("linux-image") == std::string::npos);
}

BOOST_AUTO_TEST_CASE(no_access) {
    const Host host;
    host.remove("/etc/libibverbs.d/rxe.driver");
    expect(of(look(host), "rdma access"), Verdict::problem, "no drivers", "ibverbs-providers");
    host.remove("/dev/infiniband/rdma_cm");
    expect(of(look(host), "rdma access"), Verdict::problem, "rdma_cm", "modprobe -a ib_uverbs rdma_ucm");
    host.remove("/dev/infiniband");
    expect(of(look(host, false), "rdma access"), Verdict::warning, "uverbs", "modprobe");
}

BOOST_AUTO_TEST_CASE(ports_that_are_down_or_elsewhere) {
    Host host;
    host.write(kPort + "/state", "1: DOWN");
    host.interfaces.back().up = false;
    expect(of(look(host), kName), Verdict::problem, "DOWN, its interface eth0 is down",
           "ip link set dev eth0 up");
    host.interfaces.back().up = true;
    expect(of(look(host), kName), Verdict::problem, "cable", "ip link set");
    host.interfaces.pop_back();
    expect(of(look(host), kName), Verdict::problem, "network namespace", "rdma system");
}

BOOST_AUTO_TEST_CASE(a_port_without_an_interface) {
    MadeUpMachine machine;
    machine.write(kPort + "/state", "4: ACTIVE");
    expect(of(look(machine), kName), Verdict::problem, "InfiniBand", "RNIC");
    machine.write("/sys/class/infiniband/rxe0/parent", "eth0");
    machine.add_interface("eth0", 4200, true, "10.77.0.2");
    expect(of(look(machine), kName), Verdict::ok, "eth0");
}

BOOST_AUTO_TEST_CASE(path_mtus) {
    BOOST_TEST(path_mtu(9000) == 4096U);
    BOOST_TEST(path_mtu(4200) == 4096U);
    BOOST_TEST(path_mtu(4192) == 4096U);
    BOOST_TEST(path_mtu(4191) == 2048U);
    BOOST_TEST(path_mtu(1500) == 1024U);
    BOOST_TEST(path_mtu(352) == 256U);
    BOOST_TEST(path_mtu(351) == 0U);
    expect(of(look(Host(1500)), kMtu), Verdict::warning, "1024: a page takes 4 packets",
           "ip link set dev eth0 mtu 4200");
    expect(of(look(Host(300)), kMtu), Verdict::problem, "no room", "mtu 4200");
}

BOOST_AUTO_TEST_CASE(tables_of_gids) {
    Host host;
    host.add_gid(1, "0000:0000:0000:0000:0000:ffff:0a4d:0002", "IB/RoCE v1");
    expect(of(look(host), kGids), Verdict::problem, "RoCE v1", "cma_roce_mode -d rxe0 -p 1 -m 2");
    host.add_gid(1, "0000:0000:0000:0000:0000:ffff:0a4d:0003", "RoCE v2");
    expect(of(look(host), kGids), Verdict::problem, "no RoCE v2 entry for 10.77.0.2",
           "ip link set dev eth0 down");
    // One that works is enough.
    host.interfaces.back().addresses.push_back(lagan::net::IpAddress::parse("10.77.0.3"));
    const Findings findings = look(host);
    BOOST_TEST(findings.count(Verdict::problem) == 0U);
    BOOST_TEST(findings.count(Verdict::warning) == 1U);
    host.interfaces.back().addresses.clear();
    expect(of(look(host), kGids), Verdict::problem, "no address", "ip address add");
}

BOOST_AUTO_TEST_CASE(both_versions_of_one_gid) {
    const Host host;
    host.add_gid(3, "0000:0000:0000:0000:0000:ffff:0a4d:0002", "IB/RoCE v1");
    BOOST_TEST(look(host).count(Verdict::problem) == 0U);
}
